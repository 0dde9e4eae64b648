# The floor of a migration: the commands of MISP's guide, as a careful person pastes them into one SSH
# session, in the guide's order. The variables come in front of this text.
# It differs from the guide where the guide's words would not work or not stay: settings by MISP's CLI,
# `enabled` last, then a reload of PHP-FPM; Redis's and supervisord's addresses, which the guide has
# "verified"; EPEL and an enabled service on the RHEL family; Composer asks nothing; "check workers are
# running" asks until the answer is yes.
# It does not look before it begins, prove the workers by a job, ask MISP, wait for the old jobs
# (`systemctl stop` kills them), go back when something fails, or hide the password from the process list.
# shellcheck shell=sh disable=SC2154

set -eu

setting() {
    sudo -u "$web_user" "$misp_root/app/Console/cake" Admin setSetting "SimpleBackgroundJobs.$1" "$2"
}

program() { # QUEUE NUMPROCS
    cat <<EOF

[program:$1]
directory=$misp_root
command=$misp_root/app/Console/cake start_worker $1
process_name=%(program_name)s_%(process_num)02d
numprocs=$2
autostart=true
autorestart=true
redirect_stderr=false
stderr_logfile=$misp_root/app/tmp/logs/misp-workers-errors.log
stdout_logfile=$misp_root/app/tmp/logs/misp-workers.log
user=$web_user
EOF
}

# Install requirements
case $family in
    debian) sudo apt install supervisor -y ;;
    rhel)
        sudo dnf install -y epel-release
        sudo dnf install -y supervisor
        sudo systemctl enable supervisord
        ;;
esac

# A login that is not in the web user's group may not change into a tree of mode 750.
sudo -u "$web_user" -H php "$misp_root/app/composer.phar" require --working-dir="$misp_root/app" \
    --no-interaction --with-all-dependencies \
    'supervisorphp/supervisor:^4.0' \
    guzzlehttp/guzzle \
    php-http/message \
    php-http/message-factory \
    lstrojny/fxmlrpc

password=$(tr -dc A-Za-z0-9 </dev/urandom | head -c 48)
sudo tee -a "$supervisor_conf" >/dev/null <<EOF

[inet_http_server]
port=127.0.0.1:9001
username=supervisor
password=$password
EOF

{
    printf '[group:misp-workers]\nprograms=default,email,cache,prio,update\n'
    program default 5
    program prio 5
    program email 5
    program update 1
    program cache 5
} | sudo tee "$group_file" >/dev/null

# MISP Config
setting supervisor_password "$password"
setting supervisor_user supervisor
setting supervisor_host 127.0.0.1
setting supervisor_port 9001
setting redis_host "$redis_host"
setting redis_port 6379
setting redis_database 1
setting redis_namespace background_jobs
[ -z "$redis_password" ] || setting redis_password "$redis_password"
setting max_job_history_ttl 86400
setting enabled true
sudo systemctl reload "$php_unit"

sudo systemctl restart "$supervisor_unit"
tries=0
until [ "$(sudo supervisorctl status | grep -c ' RUNNING ')" -eq 21 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 120 ] || exit 1
    sleep 0.25
done

sudo systemctl stop misp-workers
sudo systemctl disable misp-workers
