<?php
declare(strict_types=1);

/** From a request to a controller's method, and from its result or exception to an answer. */
final class FrontController
{
    const NO_KEY = 'Authentication failed. Please make sure you pass the API key of an API enabled user along in the '
        . 'Authorization header.';
    const CONTROLLERS = array('servers' => ServersController::class, 'events' => EventsController::class,
        'feeds' => FeedsController::class, 'jobs' => JobsController::class, 'users' => UsersController::class,
        'stub_jobs' => StubJobsController::class);

    public static function handle(): void
    {
        // A warning must not reach the body: MISP logs it.
        ini_set('display_errors', '0');
        $path = self::path();
        try {
            list($status, $body) = array(200, self::answer($path));
        } catch (HttpError $error) {
            list($status, $body) = array($error->getCode(), self::errorBody($error->getMessage(), $path));
        } catch (Throwable $error) {
            list($status, $body) = self::internal($error, $path);
        }
        self::send($status, $body);
    }

    private static function path(): string
    {
        $path = (string)parse_url($_SERVER['REQUEST_URI'] ?? '/', PHP_URL_PATH);
        return rawurldecode((string)preg_replace('{\.json$}', '', $path));
    }

    private static function answer(string $path): array
    {
        // config.php comes by include, so PHP-FPM's opcache decides how old it is.
        Configure::load();
        require APP . 'Config/core.php';
        require APP . 'Config/bootstrap.php';
        Auth::check();
        $parts = explode('/', trim($path, '/'));
        $controller = self::CONTROLLERS[$parts[0]] ?? null;
        $action = $parts[1] ?? 'index';
        if ($controller === null || !isset($controller::ACTIONS[$action])) {
            throw new HttpError('Not Found', 404);
        }
        self::checkMethod($controller::ACTIONS[$action]);
        return (new $controller($path))->$action(...array_slice($parts, 2));
    }

    /** GET on an action that changes something. */
    private static function checkMethod(string $method): void
    {
        if ($method === 'POST' && !in_array($_SERVER['REQUEST_METHOD'], array('POST', 'PUT'), true)) {
            throw new HttpError('This endpoint expects a POST request.', 405);
        }
    }

    /** A message stays visible when the exception has an HTTP code, such as supervisord's own 401; else 500. */
    private static function internal(Throwable $error, string $path): array
    {
        Log::error('[' . get_class($error) . '] ' . $error->getMessage() . "\nRequest URL: $path\nStack Trace:\n"
            . $error->getTraceAsString());
        $code = (int)$error->getCode();
        if ($code >= 400 && $code < 500) {
            return array($code, self::errorBody($error->getMessage(), $path));
        }
        return array(500, self::errorBody('An Internal Error Has Occurred.', $path));
    }

    private static function errorBody(string $message, string $path): array
    {
        return array('name' => $message, 'message' => $message, 'url' => $path);
    }

    private static function send(int $status, array $body): void
    {
        // A controller's own error body carries its status.
        $status = $body['__status'] ?? $status;
        unset($body['__status']);
        http_response_code($status);
        header('Content-Type: application/json; charset=UTF-8');
        echo json_encode($body, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR), "\n";
    }
}
