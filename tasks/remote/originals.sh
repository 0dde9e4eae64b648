# A host's state before its first change, kept once for the way back, in $state_dir/originals:
# saved/PATH is a copy with owner and mode, `absent` lists what was not there, `units` what systemd
# said, `ours` the digests of what the migration left behind, or `changing` for what it was at work
# on. All of it is on disk before the change that it speaks of begins.
# shellcheck shell=sh disable=SC2154

originals=$state_dir/originals

keep_original() { # PATH...: to be called before a change; only the first call keeps anything
    make_originals
    for path in "$@"; do
        if is_kept "$path"; then
            continue
        elif [ -e "$path" ]; then
            rm -rf "$originals/new"
            cp -a --reflink=auto "$path" "$originals/new" || die "no room in $state_dir to keep $path"
            sync -f "$originals/new"
            install -d -m 0700 "$originals/saved${path%/*}"
            mv "$originals/new" "$originals/saved$path"
        else
            append "$originals/absent" "$path"
        fi
    done
}

is_kept() { [ -e "$originals/saved$1" ] || grep -qsxF "$1" "$originals/absent"; }

make_originals() { # with what nobody can tell later: whether MISP was on the new backend already
    make_state_dir
    if [ ! -d "$originals" ]; then
        rm -rf "$originals.new"
        install -d -m 0700 "$originals.new" "$originals.new/saved"
        append "$originals.new/backend" "$backend_before"
        mv "$originals.new" "$originals"
    fi
}

keep_unit() { # UNIT: whether it runs and whether it starts at boot
    make_originals
    grep -qs "^$1 " "$originals/units" ||
        append "$originals/units" "$1 $(systemctl is-active "$1" 2>/dev/null) $(systemctl is-enabled "$1" 2>/dev/null || true)"
}

append() { # FILE LINE
    printf '%s\n' "$2" >>"$1" && sync "$1"
}

restore_original() { # PATH: as it was, or gone if it was not there
    if [ -e "$originals/saved$1" ]; then
        rm -rf "${1:?}.misp-workers-new"
        # Over a link that whoever may write here has put there meanwhile, never through it.
        cp -aT --remove-destination "$originals/saved$1" "$1.misp-workers-new" || die "could not put $1 back"
        # Old workers and the web tier run from app/Vendor meanwhile.
        if [ ! -d "$1" ] || ! exchange "$1.misp-workers-new" "$1"; then
            rm -rf "${1:?}.misp-workers-old"
            if [ -d "$1" ]; then mv "$1" "$1.misp-workers-old"; fi # mv replaces no directory
            mv -fT "$1.misp-workers-new" "$1" || die "could not put $1 back"
        fi
        rm -rf "${1:?}.misp-workers-new" "${1:?}.misp-workers-old"
        if command -v restorecon >/dev/null 2>&1; then restorecon -R "$1" 2>/dev/null || true; fi
    elif grep -qsxF "$1" "$originals/absent"; then
        rm -rf "${1:?}"
    fi
}

exchange() { # PATH PATH: renameat2(2) with RENAME_EXCHANGE, so that neither is ever missing
    python3 - "$1" "$2" 2>/dev/null <<'PYTHON'
import ctypes, os, sys
one, other = map(os.fsencode, sys.argv[1:])
sys.exit(ctypes.CDLL(None).renameat2(-100, one, -100, other, 2) != 0)
PYTHON
}

# Around a change of a file that others change too: `ours` knows it only as long as all its changes
# since the first look are ours.
about_to_change() { # PATH
    if ! is_kept "$1"; then
        keep_original "$1"
        all_ours=yes
    elif is_as_we_left_it "$1" || is_as_it_was "$1"; then
        all_ours=yes
    else
        all_ours=no
    fi
    note_ours changing "$1"
}

left_by_us() { note_ours "$(digest "$1")" "$1"; } # PATH

note_ours() { # DIGEST|changing PATH
    [ "$all_ours" = yes ] || return 0
    { grep -sv " $2\$" "$originals/ours"; printf '%s %s\n' "$1" "$2"; } | write_file "$originals/ours" 0600
}

# A change of ours that was cut off counts: whatever the file is now, we have made it so.
is_as_we_left_it() { grep -qsxF -e "$(digest "$1") $1" -e "changing $1" "$originals/ours"; }

is_as_it_was() { # PATH
    if [ -e "$originals/saved$1" ]; then [ "$(digest "$originals/saved$1")" = "$(digest "$1")" ]; else [ ! -e "$1" ]; fi
}

digest() { sha256 2>/dev/null <"$1"; } # FILE
