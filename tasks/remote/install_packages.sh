# Install what is missing of $packages. The unit is masked until it is configured: Debian's package
# starts its service at once, and a group file left by an earlier attempt would start workers.
# shellcheck shell=sh disable=SC2154,SC2086

keep_unit "$supervisor_unit.service"
export DEBIAN_FRONTEND=noninteractive
export NEEDRESTART_SUSPEND=1 # Ubuntu's needrestart would restart the old workers' unit
systemctl mask --runtime --no-reload "$supervisor_unit" >/dev/null 2>&1
trap 'systemctl unmask --runtime "$supervisor_unit" >/dev/null 2>&1' EXIT

have_them_offered() {
    [ -n "$package_offered" ] && ! $package_offered $supervisor_package >/dev/null 2>&1 || return 0
    [ "$epel" = yes ] || die "no repository offers $supervisor_package and epel is false: enable EPEL or a repository that has it"
    [ -n "$epel_packages" ] || die "no repository offers $supervisor_package"
    $package_install $epel_packages >&2 ||
        die "EPEL could not be enabled by installing $epel_packages: enable it as docs.fedoraproject.org/en-US/epel says, then run again"
}

# Where EPEL is missing supervisor most likely is too, and asking is quicker than an install that fails.
if [ -n "$epel_packages" ] && [ "$epel" = yes ] && ! $package_query $epel_packages >/dev/null 2>&1; then
    have_them_offered
fi
if ! $package_install $packages >&2; then # an install was cut off, the lists are old, or EPEL is missing
    printf 'trying again\n' >&2
    $package_repair >&2
    $package_refresh >&2 || printf 'could not refresh the package lists, trying with the old ones\n' >&2
    have_them_offered
    $package_install $packages >&2 || die "could not install: $packages"
fi
command -v supervisord >/dev/null 2>&1 || die "these are installed, but there is no supervisord on the PATH: $packages"
