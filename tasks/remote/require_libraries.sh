# The guide's five packages by Composer, as the web user. Composer may fail after it has rewritten
# composer.json and half of Vendor, so all three are saved first and put back then, or by the next
# run if this one is cut off.
# shellcheck shell=sh disable=SC2154

app=$misp_root/app
backup=$state_dir/composer-backup
make_state_dir

put_back() { # all three as they were; what was not there before goes away
    for name in composer.json composer.lock Vendor; do
        rm -rf "${app:?}/$name.misp-workers-old"
        if [ -e "$app/$name" ]; then mv "$app/$name" "$app/$name.misp-workers-old"; fi
        if [ -e "$backup/$name" ]; then cp -a "$backup/$name" "$app/$name"; fi
        rm -rf "${app:?}/$name.misp-workers-old"
    done
    rm -rf "$backup"
}

[ ! -f "$backup/complete" ] || put_back
rm -rf "$backup"
install -d -m 0700 "$backup"
for name in composer.json composer.lock Vendor; do
    [ ! -e "$app/$name" ] || cp -a --reflink=auto "$app/$name" "$backup/$name" || die "no room to save $app/$name in $state_dir"
done
: >"$backup/complete"

# shellcheck disable=SC2086  # $composer and $libraries are lists of words
if ! (cd "$app" && as_web_user env COMPOSER_NO_INTERACTION=1 timeout 900 $composer require \
    --with-all-dependencies --update-no-dev --no-interaction --prefer-dist --no-progress $libraries) >&2; then
    put_back
    die "Composer failed, its output is above; composer.json, composer.lock and Vendor are as before. If this host has no way to Packagist, let Composer use a mirror or bring the packages into $app/Vendor, then run again"
fi
if as_web_user php -d display_errors=stderr -r "$php_libraries" -- "$misp_root" | grep -E 'no$' >&2; then
    put_back
    die "Composer ended well but the classes above are still missing; composer.json, composer.lock and Vendor are as before"
fi
rm -rf "$backup"
