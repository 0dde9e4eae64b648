<?php
declare(strict_types=1);

/**
 * Cake's console parser as far as it bites: a value that begins with `-` is an option, `--` is no way out, and the
 * value `--force` is taken as the option.
 */
final class OptionParser
{
    const COMMON = array('help' => 'h', 'verbose' => 'v', 'quiet' => 'q');

    /** @param array $options long name => array('short' => letter, 'flag' => bool) */
    public static function parse(array $tokens, array $options): array
    {
        foreach (self::COMMON as $name => $short) {
            $options += array($name => array('short' => $short, 'flag' => true));
        }
        $params = array();
        $args = array();
        while ($tokens !== array()) {
            $token = (string)array_shift($tokens);
            if (strncmp($token, '--', 2) === 0) {
                self::take(substr($token, 2), $options, $tokens, $params);
            } elseif ($token !== '' && $token[0] === '-') {
                self::take(self::longName(substr($token, 1), $options), $options, $tokens, $params);
            } else {
                $args[] = $token;
            }
        }
        return array($params, $args);
    }

    private static function longName(string $short, array $options): string
    {
        foreach ($options as $name => $option) {
            if (($option['short'] ?? null) === $short) {
                return $name;
            }
        }
        throw new ConsoleException("Unknown short option `$short`");
    }

    private static function take(string $name, array $options, array &$tokens, array &$params): void
    {
        list($name, $value) = array_pad(explode('=', $name, 2), 2, null);
        if (!isset($options[$name])) {
            throw new ConsoleException("Unknown option `$name`");
        }
        if (!empty($options[$name]['flag'])) {
            $params[$name] = true;
            return;
        }
        $params[$name] = $value ?? array_shift($tokens) ?? '';
    }
}
