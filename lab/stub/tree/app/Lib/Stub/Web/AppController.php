<?php
declare(strict_types=1);

abstract class AppController
{
    const ACTIONS = array();

    protected string $path;

    public function __construct(string $path)
    {
        $this->path = $path;
    }

    protected function saved(string $message, string $url, ?string $id = null): array
    {
        $body = array('saved' => true, 'success' => true, 'name' => $message, 'message' => $message, 'url' => $url);
        return $id === null ? $body : $body + array('id' => $id);
    }

    protected function input(): array
    {
        $input = json_decode((string)file_get_contents('php://input'), true);
        return is_array($input) ? $input : $_POST;
    }

    protected function tool(): BackgroundJobsTool
    {
        return BackgroundJobsTool::forWeb();
    }
}
