# The RPC include file, and a daemon that runs with it.
# shellcheck shell=sh disable=SC2154

make_state_dir
keep_unit "$supervisor_unit.service"
[ "$write_rpc_file" = no ] || keep_original "$rpc_file"
if [ "$rotate" = yes ] || ! find_password; then
    [ "$write_rpc_file" = yes ] || die "the password in the [inet_http_server] that is there already is hashed, and MISP does not know it: give it as supervisor_password"
    # 48 letters and digits, from the kernel. The file bridges the time until MISP knows it too.
    password_in_use=$(LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom 2>/dev/null | head -c 48)
    [ "${#password_in_use}" -eq 48 ] || die "could not make a password from /dev/urandom"
    printf '%s\n' "$password_in_use" | write_file "$state_dir/pending-password" 0600
fi

previous=$state_dir/rpc-previous
is_held=no
put_back() {
    [ "$is_held" = no ] || restore_original "$group_file"
    [ "$write_rpc_file" = yes ] || return 0
    if [ -f "$previous" ]; then mv -f "$previous" "$rpc_file"; else rm -f "$rpc_file"; fi
    [ "$rotate" = no ] || rm -f "$state_dir/pending-password"
}

if [ "$write_rpc_file" = yes ]; then
    [ ! -f "$rpc_file" ] || [ -f "$previous" ] || cp -p "$rpc_file" "$previous"
    printf '%s\n' "$(rpc_text)" | write_file "$rpc_file" 0600 || die "could not write $rpc_file"
fi

# A worker group that somebody put there by hand: with settings that are yet to come its workers would
# crash and be started without end. The workers' step writes it anew.
hold_group() {
    if [ ! -f "$group_file" ] || backend_is_on; then return 0; fi
    keep_original "$group_file"
    rm -f "$group_file"
    is_held=yes
}

answers() {
    answer=$(ask_rpc)
    [ "$answer" = "200 $(daemon_pid)" ]
}

wait_for_answer() {
    tries=0
    until answers; do
        tries=$((tries + 1))
        [ "$tries" -lt 400 ] || return 1 # half a minute
        sleep 0.05
    done
}

# Not the init script that Debian has beside the unit: systemd does not run it.
SYSTEMCTL_SKIP_SYSV=1 systemctl enable --no-reload "$supervisor_unit" >/dev/null 2>&1 ||
    die "could not enable $supervisor_unit"
if daemon_is_active; then
    if ! answers; then
        # A restart on a broken configuration takes every program down (status 2, and systemctl
        # says 0): `reread` reads the same files and stops nothing.
        if complaint=$(ctl reread 2>&1) && ! printf '%s' "$complaint" | grep -q '^ERROR'; then
            stop_idle_workers
            hold_group
            systemctl restart "$supervisor_unit"
        else
            put_back
            die "supervisord cannot read its configuration, so it was not restarted: $complaint"
        fi
    fi
else
    hold_group
    systemctl reset-failed "$supervisor_unit" 2>/dev/null
    systemctl start "$supervisor_unit"
fi
if ! wait_for_answer; then
    journalctl -u "$supervisor_unit" -n 15 --no-pager -o cat >&2 2>/dev/null
    put_back
    ! daemon_is_active || systemctl restart "$supervisor_unit"
    die "supervisord does not answer on its RPC: '$answer', its pid is $(daemon_pid); its journal is above. Nothing of its configuration was changed"
fi
rm -f "$previous"
# With settings that are yet to come no worker lives for long: whether they run is for a later step.
if [ -f "$group_file" ] && backend_is_on && ! wait_until_running; then
    printf 'not every worker runs after a minute: see supervisorctl status\n' >&2
fi
