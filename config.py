"""What pyinfra executes before it connects to any host, whatever the inventory is."""

from tasks import connection

connection.follow_ssh_config()
connection.try_a_password_once()
