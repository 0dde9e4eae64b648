# The guide's five packages by Composer, as the web user. Composer may fail after it has rewritten
# composer.json and half of Vendor, so all three are saved first and put back then, or by the next
# run if this one is cut off.
# shellcheck shell=sh disable=SC2154

app=$misp_root/app
backup=$state_dir/composer-backup
make_state_dir

drop_backup() { # first its mark: a removal that is cut off must not pass for a whole backup
    rm -f "$backup/complete"
    rm -rf "$backup"
}

put_back() { # all three as they were; what was not there before goes away
    for name in composer.json composer.lock Vendor; do
        # The broken one goes first, to make room: it may be a full disk that broke it.
        rm -rf "${app:?}/$name"
        [ ! -e "$backup/$name" ] || cp -aT --remove-destination "$backup/$name" "$app/$name" ||
            die "could not put $app/$name back: its copy is in $backup/$name. Make room and run again"
    done
    drop_backup
}

give_up() { # REASON: what is there now is what was there before
    put_back
    left_by_us "$app/composer.lock"
    die "$1"
}

[ ! -f "$backup/complete" ] || put_back
drop_backup
about_to_change "$app/composer.lock"
keep_original "$app/composer.json" "$app/Vendor"
install -d -m 0700 "$backup"
for name in composer.json composer.lock Vendor; do
    [ ! -e "$app/$name" ] || cp -a --reflink=auto "$app/$name" "$backup/$name" || die "no room to save $app/$name in $state_dir"
done
: >"$backup/complete"

# Composer believes its own list of what is installed, but for packages whose directory is gone.
for library in $libraries; do rm -rf "${app:?}/Vendor/${library%%:*}"; done

# shellcheck disable=SC2086  # $composer and $libraries are lists of words
if ! (cd "$app" && as_web_user env COMPOSER_NO_INTERACTION=1 timeout 900 $composer require \
    --with-all-dependencies --update-no-dev --no-interaction --prefer-dist --no-progress $libraries) >&2; then
    give_up "Composer failed, its output is above; composer.json, composer.lock and Vendor are as before. If this host has no way to Packagist, let Composer use a mirror or bring the packages into $app/Vendor, then run again"
fi
classes=$(misp class libraries)
if printf '%s' "$classes" | grep -E ' no$' >&2 || ! printf '%s' "$classes" | grep -q 'done$'; then
    give_up "Composer ended well but the classes above do not load; composer.json, composer.lock and Vendor are as before"
fi
left_by_us "$app/composer.lock"
sync -f "$app" # before the copy goes that could replace it
drop_backup
