# MISP's settings through MISP's own CLI, `enabled` last. Values reach the CLI on standard input:
# cake.php ends in a run of the global $argv, which is read from there (see set_settings.php).
# shellcheck shell=sh disable=SC2154

make_state_dir
take_answers "$(misp password redis_password)"
given_password || password_in_use=${answer_password:-}
knows_password || die "no supervisor password is known on this host: the RPC step has to come first"
# From here on every PHP process of the web tier may have settings that are no longer true.
about_to_change "$config_php"
changed unfinished

printf '{"settings":%s,"supervisor_password":"%s","redis_password":"%s"}' "$settings_json" \
    "$(json_text "$password_in_use")" "$(json_text "${answer_redis_password:-}")" |
    (cd "$misp_root/app/Console" && php_as_web_user "$php_set_settings") || die "MISP's settings were not all taken, see above"

left_by_us "$config_php"
changed "$(now_ticks)"
rm -f "$state_dir/pending-password"
