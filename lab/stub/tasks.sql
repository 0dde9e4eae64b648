-- MISP's table of scheduled tasks before 2.5.18 (INSTALL/MYSQL.sql), with the rows that its page makes (Task.php).
CREATE DATABASE misp;
USE misp;
CREATE TABLE `tasks` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `type` varchar(100) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `timer` int(11) NOT NULL,
  `scheduled_time` varchar(8) NOT NULL DEFAULT '6:00',
  `process_id` varchar(32) DEFAULT NULL,
  `description` varchar(255) NOT NULL,
  `next_execution_time` int(11) NOT NULL,
  `message` varchar(255) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci;
INSERT INTO `tasks` (`type`, `timer`, `scheduled_time`, `process_id`, `description`, `next_execution_time`, `message`)
VALUES
  ('cache_exports', 0, '12:00', '', 'Generates export caches.', 1391601600, 'Not scheduled yet.'),
  ('pull_all', 0, '12:00', '', 'Initiates a full pull.', 1391601600, 'Not scheduled yet.'),
  ('push_all', 0, '12:00', '', 'Initiates a full push.', 1391601600, 'Not scheduled yet.'),
  ('cache_feeds', 0, '12:00', '', 'Initiates the caching of all feeds.', 1391601600, 'Not scheduled yet.'),
  ('fetch_feeds', 0, '12:00', '', 'Initiates the pull of all feeds.', 1391601600, 'Not scheduled yet.');
CREATE TABLE `jobs` (`id` int(11) NOT NULL AUTO_INCREMENT PRIMARY KEY, `process_id` varchar(36) DEFAULT NULL);
