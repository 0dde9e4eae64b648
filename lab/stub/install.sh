#!/bin/sh
# install.sh ROOT PROFILE WEB_USER: lay the MISP stub out at ROOT, as root. A second run with the same profile renews
# the code and leaves configuration, libraries and state alone.
set -eu

[ $# -eq 3 ] || { echo "usage: install.sh ROOT PROFILE WEB_USER" >&2; exit 2; }
root=$1 profile=$2 web_user=$3
here=$(cd "$(dirname "$0")" && pwd)
group=$(id -gn "$web_user")
home=$(getent passwd "$web_user" | cut -d: -f6)
state=/var/lib/misp-stub
packages=/usr/share/misp-stub/packages

as_web_user() {
    runuser -u "$web_user" -- env HOME="$home" "$@"
}

# Where `composer` finds packages: this directory stands for Packagist.
install_packages() {
    rm -rf "$packages"
    mkdir -p "$packages"
    cp -R "$here/packages/." "$packages/"
    # The forks that MISP has required since 2.5.0.
    for name in cake-resque php-resque-ex php-resque-ex-scheduler; do
        cp -R "$packages/kamisama-$name" "$packages/iglocska-$name"
        find "$packages/iglocska-$name" -type f -exec sed -i 's|kamisama|iglocska|g; s|"4.1.2"|"4.2.1"|' {} +
    done
}

# Composer's home of the web user, as MISP's installation makes it; the home itself stays root's.
configure_composer() {
    mkdir -p "$home/.composer/cache"
    cat > "$home/.composer/config.json" <<JSON
{
    "repositories": [
        {"type": "path", "url": "$packages/*", "options": {"symlink": false, "reference": "none"}},
        {"packagist.org": false}
    ]
}
JSON
    chown -R "$web_user:$group" "$home/.composer"
}

copy_tree() {
    mkdir -p "$root"
    cp -R "$here/tree/." "$root/"
    find "$root" -name empty -size 0 -delete
    chmod a+x "$root/app/Console/cake" "$root/app/Console/worker/start.sh" "$root/app/Console/worker/stop.sh"
}

# A note of what is there makes the second run short.
fresh() {
    [ "$(cat "$root/.stub-profile" 2>/dev/null)" != "$profile" ] || [ ! -f "$root/app/Vendor/autoload.php" ]
}

install_state() {
    mkdir -p "$state/inflight"
    touch "$state/ledger.jsonl"
    chown -R "$web_user:$group" "$state"
    chmod 0750 "$state"
    php "$here/setup.php" stub "$root" "$profile" "$web_user"
    chown "root:$group" /etc/misp-stub.json
    chmod 0640 /etc/misp-stub.json
}

# Vendor as it was before the new backend: the old one's libraries only, from a lock of its own.
install_vendor() {
    rm -rf "$root/app/Vendor" "$root/app/composer.lock" "$root/app/Plugin/CakeResque"
    php "$here/setup.php" composer-before "$root" "$profile"
    chown -R "$web_user:$group" "$root"
    (cd "$root/app" && as_web_user php composer.phar install --no-dev --no-interaction --no-progress --quiet)
    php "$here/setup.php" composer-after "$root" "$profile"
}

# app/composer.json is tracked and everything else of Composer's is ignored, as in MISP.
make_repository() {
    command -v git > /dev/null || return 0
    rm -rf "$root/.git"
    printf '%s\n' /.stub-profile /app/Vendor/ '/app/composer.*' '!/app/composer.json' /app/Config/config.php \
        '/app/tmp/**' /app/Plugin/CakeResque/ /app/Plugin/DebugKit/ > "$root/.gitignore"
    chown "$web_user:$group" "$root" "$root/.gitignore"
    as_web_user git -C "$root" init --quiet
    as_web_user git -C "$root" config core.filemode false
    as_web_user git -C "$root" symbolic-ref HEAD refs/heads/main # Ubuntu 20.04's git has no --initial-branch
    as_web_user git -C "$root" add --all
    as_web_user git -C "$root" -c user.name=stub -c user.email=stub@localhost commit --quiet -m "v$profile"
    as_web_user git -C "$root" tag "v$profile"
}

# MISP's guides for 2.4 end so (docs/INSTALL.*.md, `permissions`). Other trees are 2775 and 664, as a clone with the
# umask 002 in a group's folder leaves them; git's own objects are for nobody to write.
set_modes() {
    case "$profile" in
    2.4.*)
        chmod -R 750 "$root"
        chmod -R g+ws "$root/app/tmp"
        ;;
    *)
        find "$root" -type d -exec chmod 2775 {} +
        find "$root" -type f ! -path "$root/.git/objects/*" -exec chmod g+w {} +
        ;;
    esac
    chmod 0660 "$root/app/Config/config.php"
}

install_packages
configure_composer
copy_tree
install_state
if fresh; then
    php "$here/setup.php" misp "$root" "$profile"
    install_vendor
    chown -R "$web_user:$group" "$root"
    make_repository
    printf '%s\n' "$profile" > "$root/.stub-profile"
    chown "$web_user:$group" "$root/.stub-profile"
    set_modes
fi
