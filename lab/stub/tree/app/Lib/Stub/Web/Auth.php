<?php
declare(strict_types=1);

final class Auth
{
    /** Every action the stub has is for site admins, or is used as one. */
    public static function check(): void
    {
        $key = self::key();
        $admin = (string)StubState::get('api_key', '');
        $readonly = (string)StubState::get('readonly_api_key', '');
        if (self::same($readonly, $key)) {
            throw new HttpError('You do not have permission to use this functionality.', 403);
        }
        if (!self::same($admin, $key)) {
            throw new HttpError(FrontController::NO_KEY, 403);
        }
    }

    /** Raw, without a scheme. */
    private static function key(): string
    {
        foreach (array('HTTP_AUTHORIZATION', 'REDIRECT_HTTP_AUTHORIZATION', 'HTTP_X_MISP_AUTH') as $name) {
            if (!empty($_SERVER[$name])) {
                return trim($_SERVER[$name]);
            }
        }
        return '';
    }

    private static function same(string $known, string $given): bool
    {
        return preg_match('/^[A-Za-z0-9]{40}$/', $given) === 1 && hash_equals($known, $given);
    }
}
