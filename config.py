"""What pyinfra executes before it connects to any host, whatever the inventory is."""

from tasks import before_connect

before_connect.follow_ssh_config()
before_connect.try_a_password_once()
