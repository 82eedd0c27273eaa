CREATE TABLE types (
  id INT NOT NULL PRIMARY KEY, tiny TINYINT UNSIGNED, big BIGINT UNSIGNED, price DECIMAL(30,10), single FLOAT, dbl DOUBLE,
  flags BIT(9), day DATE, at DATETIME(6), stamp TIMESTAMP NULL DEFAULT NULL, clock TIME(3), yr YEAR,
  kind ENUM('a','it''s','ü'), tags SET('x','y','z'), doc JSON, short BINARY(4), bytes LONGBLOB, words LONGTEXT,
  latin VARCHAR(20) CHARACTER SET latin1, place POINT, addr INET6, uid UUID
) CHARACTER SET utf8mb4;
SET sql_mode = '';
SET time_zone = '+02:00';
INSERT INTO types VALUES
  (1, 255, 18446744073709551615, 12345678901234567890.0123456789, 1.5, 1e300, b'101010101', '2024-02-29',
   '2024-02-29 23:59:59.123456', '2024-07-01 12:00:00', '-838:59:59.000', 2155, 'it''s', 'x,z',
   '{"emoji": "😀", "quote": "\\"", "n": [1, null]}', 0x00FF0A27, NULL, 'Zeile 1\nZeile 2\r\n\t\\ '' " 😀 漢字 \0 end', 'Grüße',
   ST_GeomFromText('POINT(1 2)'), '2001:db8::1', '123e4567-e89b-12d3-a456-426655440000'),
  (2, 0, 0, 0, 0, 0, b'0', '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', '00:00:00', 0000, '', '', '[]', '', '', '', '', NULL, '::', NULL),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
-- Every byte there is, several times over.
UPDATE types SET bytes = (SELECT UNHEX(GROUP_CONCAT(LPAD(HEX(seq % 256), 2, '0') ORDER BY seq SEPARATOR '')) FROM seq_0_to_511) WHERE id = 1;
SET @mode = @@sql_mode, sql_mode = 'ALLOW_INVALID_DATES';
CREATE TABLE no_such_date (d DATE);
INSERT INTO no_such_date VALUES ('2024-02-31');
SET sql_mode = @mode;

CREATE TABLE zero_default (a INT, d DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00');
INSERT INTO zero_default (a) VALUES (1);
SET sql_mode = DEFAULT;
CREATE TABLE `we``ird VALUES (x, ünï-漢` (`ke y` INT PRIMARY KEY, `a``b``) VALUES (1)` TEXT) COMMENT='it''s; -- Dump completed';
INSERT INTO `we``ird VALUES (x, ünï-漢` VALUES (1, 'INSERT INTO `x` VALUES (1);'), (2, '\n-- Dump completed\n'), (3, 'UNLOCK TABLES;\nDELIMITER ;;\n');
CREATE TABLE generated (a INT PRIMARY KEY, b INT AS (a * 2) VIRTUAL, c INT AS (a * 3) STORED, d INT INVISIBLE DEFAULT 7, UNIQUE (c));
INSERT INTO generated (a) VALUES (1), (2), (3);
CREATE TABLE parted (id INT NOT NULL, y INT NOT NULL, PRIMARY KEY (id, y)) PARTITION BY RANGE (y)
  (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO parted SELECT seq, 1990 + seq FROM seq_1_to_50;
CREATE TABLE ring_a (id INT PRIMARY KEY, b INT);
CREATE TABLE ring_b (id INT PRIMARY KEY, a INT, CONSTRAINT to_a FOREIGN KEY (a) REFERENCES ring_a (id));
INSERT INTO ring_a VALUES (1, 1); INSERT INTO ring_b VALUES (1, 1);
ALTER TABLE ring_a ADD CONSTRAINT to_b FOREIGN KEY (b) REFERENCES ring_b (id);
CREATE TABLE no_rows (a INT);
CREATE TABLE no_key (a INT, b VARCHAR(10)); INSERT INTO no_key VALUES (1, 'x'), (1, 'x'), (2, NULL);
CREATE TABLE checked (a INT CHECK (a > 0), f VARCHAR(50) DEFAULT CONCAT('a', 'b'), FULLTEXT (f)); INSERT INTO checked (a) VALUES (1);
CREATE TABLE old_rows (a INT PRIMARY KEY) ENGINE=MyISAM; INSERT INTO old_rows VALUES (3), (1), (2);
CREATE TABLE in_memory (a INT) ENGINE=MEMORY; INSERT INTO in_memory VALUES (1);
CREATE TABLE merged (a INT NOT NULL, KEY (a)) ENGINE=MRG_MyISAM UNION=(old_rows);
DROP TABLE merged;
CREATE SEQUENCE numbers START WITH 100 INCREMENT BY 10;
DO NEXTVAL(numbers);
CREATE TABLE journal (n INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(100));
CREATE TABLE numbered (id INT PRIMARY KEY DEFAULT NEXTVAL(numbers), a INT); INSERT INTO numbered (a) VALUES (1), (2);
CREATE VIEW seen AS SELECT id, words FROM types WHERE id < 3;
CREATE VIEW seen_twice AS SELECT s.id FROM seen s JOIN seen USING (id);
DELIMITER //
CREATE TRIGGER noted AFTER INSERT ON no_rows FOR EACH ROW BEGIN INSERT INTO journal (what) VALUES (CONCAT('row ', NEW.a)); END//
CREATE TRIGGER shop.`qualified`
  BEFORE INSERT ON shop . no_rows FOR EACH ROW SET NEW.a = NEW.a + 0//
CREATE PROCEDURE refill(IN n INT)
BEGIN
  -- Lines that look like a dump's own.
INSERT INTO `journal` VALUES (1,'a');
INSERT INTO `journal` VALUES (2,'b');
/*
LOCK TABLES `journal` WRITE;
UNLOCK TABLES;
*/
  SELECT '-- Dump completed', 'ünï😀';
END//
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2//
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO INSERT INTO journal (what) VALUES ('night')//
DELIMITER ;
