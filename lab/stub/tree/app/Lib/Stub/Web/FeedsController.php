<?php
declare(strict_types=1);

final class FeedsController extends AppController
{
    const ACTIONS = array('cacheFeeds' => 'POST');

    public function cacheFeeds(string $scope = 'all'): array
    {
        $row = JobTable::create('default', 'cache_feeds', $scope, 'Starting feed caching.');
        $this->tool()->enqueue('default', 'server', array('cacheFeed', '1', $scope, (string)$row), $row);
        return $this->saved('Feed caching job initiated.', $this->path);
    }
}
