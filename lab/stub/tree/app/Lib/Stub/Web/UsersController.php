<?php
declare(strict_types=1);

final class UsersController extends AppController
{
    const ACTIONS = array('view' => 'GET');

    public function view(string $id = 'me'): array
    {
        return array('User' => array('id' => '1', 'org_id' => '1', 'email' => 'admin@admin.test', 'role_id' => '1'),
            'Role' => array('id' => '1', 'name' => 'admin', 'perm_site_admin' => true));
    }
}
