-- The same table since 2.5.18, as MISP's own scheduler reads it (SchedulerWorkerShell.php): the timer is in seconds.
CREATE DATABASE misp;
USE misp;
CREATE TABLE `tasks` (
  `id` int(11) NOT NULL AUTO_INCREMENT PRIMARY KEY,
  `type` varchar(100) NOT NULL,
  `action` varchar(100) DEFAULT NULL,
  `params` varchar(255) DEFAULT NULL,
  `user_id` int(11) NOT NULL,
  `timer` int(11) NOT NULL,
  `next_execution_time` int(11) NOT NULL,
  `enabled` tinyint(1) NOT NULL DEFAULT 0
) ENGINE=InnoDB;
CREATE TABLE `jobs` (`id` int(11) NOT NULL AUTO_INCREMENT PRIMARY KEY, `process_id` varchar(36) DEFAULT NULL);
