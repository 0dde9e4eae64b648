# Build the module in a directory of its own (the guide's fixed name in /tmp can be taken by anybody
# first), load it, and make the label of `cake` and the boolean last.
# shellcheck shell=sh disable=SC2154

make_state_dir
build=$(mktemp -d "$state_dir/selinux.XXXXXX")
trap 'rm -rf "$build"' EXIT
printf '%s' "$module_source" >"$build/misp-workers-httpd.te"
make -C "$build" -f /usr/share/selinux/devel/Makefile misp-workers-httpd.pp >"$build/log" 2>&1 ||
    { cat "$build/log" >&2; die "the SELinux module could not be built"; }

if [ "$load_module" = yes ]; then
    make_originals
    [ -f "$originals/selinux" ] || printf '%s %s %s\n' "$(semodule -l | grep -q '^misp-workers-httpd' && echo loaded || echo absent)" \
        "$(matchpathcon -n "$real_root/app/Console/cake" | cut -d: -f3)" \
        "$(getsebool httpd_can_network_connect | sed 's/.*> //')" | write_file "$originals/selinux" 0600
    semodule -i "$build/misp-workers-httpd.pp" || die "the SELinux module could not be loaded"
    rule="$real_root/app/Console/cake" # restorecon follows a symlinked root, rules do not
    semanage fcontext -a -t httpd_sys_script_exec_t "$rule" 2>/dev/null ||
        semanage fcontext -m -t httpd_sys_script_exec_t "$rule" || die "no file context rule for $rule"
    restorecon "$rule" || die "could not label $rule"
    setsebool -P httpd_can_network_connect on || die "could not set httpd_can_network_connect"
fi
printf '%s\n' "$module_digest" | write_file "$state_dir/selinux-module" 0600
