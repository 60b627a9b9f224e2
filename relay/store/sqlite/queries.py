"""What is asked about conversations, rooms and people, as SQL. Parameters are named by their place."""

# The sizes of messages, in the order of an array of their seqs. In a run each has a length of 4 bytes in front.
SIZES = """
SELECT CASE log.total WHEN 1 THEN length(log.packet) ELSE length(log.packet) / log.total - 4 END
FROM json_each(?) AS wanted
CROSS JOIN log ON log.seq = (SELECT max(held.seq) FROM log AS held WHERE held.seq <= wanted.value)
"""

# When the message with this seq was stored.
TIME = "SELECT time_ms FROM log WHERE seq <= ? ORDER BY seq DESC LIMIT 1"

# user, device, after, limit. The title is NULL for a direct conversation.
CONVERSATIONS = """
SELECT c.id, c.name, r.title, c.first_kept, m.joined,
    coalesce((SELECT k.delivered FROM devices d JOIN cursors k ON k.device_id = d.id AND k.conversation_id = c.id
              WHERE d.user_id = u.id AND d.name = ?2), 0),
    coalesce((SELECT max(k.read) FROM devices d JOIN cursors k ON k.device_id = d.id AND k.conversation_id = c.id
              WHERE d.user_id = u.id), 0)
FROM users u
JOIN members m ON m.user_id = u.id AND m.role >= 0
JOIN conversations c ON c.id = m.conversation_id
LEFT JOIN rooms r ON r.conversation_id = c.id
WHERE u.name = ?1 AND c.name > ?3
ORDER BY c.name LIMIT ?4
"""

# conversation, limit.
CURSORS = """
SELECT u.name, d.name, max(m.joined, coalesce(k.delivered, 0)), coalesce(k.read, 0)
FROM conversations c
JOIN members m ON m.conversation_id = c.id AND m.role >= 0
JOIN users u ON u.id = m.user_id
JOIN devices d ON d.user_id = u.id AND d.opened AND NOT d.temporary
LEFT JOIN cursors k ON k.device_id = d.id AND k.conversation_id = c.id
WHERE c.name = ? ORDER BY u.name, d.name LIMIT ?
"""

_ROOM = """
SELECT {more} c.id, c.name, r.title, r.public,
    (SELECT count(*) FROM members WHERE conversation_id = c.id AND role >= 0), c.created_ms
FROM rooms r JOIN conversations c ON c.id = r.conversation_id
"""

# room.
ROOM = _ROOM.format(more="") + "WHERE c.name = ?"

# after, limit.
PUBLIC_ROOMS = _ROOM.format(more="") + "WHERE r.public AND c.name > ? ORDER BY c.name LIMIT ?"

# user. Rooms she is in or invited to, the role first.
ROOMS_OF = (
    _ROOM.format(more="m.role,")
    + """
JOIN members m ON m.conversation_id = c.id AND m.role >= -1
JOIN users u ON u.id = m.user_id
WHERE u.name = ? ORDER BY c.name
"""
)

# user, room.
ROLE = """
SELECT m.role FROM users u JOIN members m ON m.user_id = u.id JOIN conversations c ON c.id = m.conversation_id
WHERE u.name = ? AND c.name = ?
"""

# room, after, limit.
MEMBERS = """
SELECT u.name, m.role FROM conversations c
JOIN members m ON m.conversation_id = c.id AND m.role >= -1
JOIN users u ON u.id = m.user_id
WHERE c.name = ? AND u.name > ? ORDER BY u.name LIMIT ?
"""

# room.
OWNERS = """
SELECT u.name FROM conversations c
JOIN members m ON m.conversation_id = c.id AND m.role = 2
JOIN users u ON u.id = m.user_id
WHERE c.name = ? ORDER BY u.name
"""

# user.
DEVICES = """
SELECT d.name, d.created_ms, d.seen_ms FROM users u JOIN devices d ON d.user_id = u.id AND d.opened
WHERE u.name = ? ORDER BY d.name
"""

# user.
BLOCKED_BY = """
SELECT o.name FROM users u JOIN blocks b ON b.user_id = u.id JOIN users o ON o.id = b.blocked_id
WHERE u.name = ? ORDER BY o.name
"""

# user, other.
SHARES = """
SELECT 1 FROM users u JOIN members a ON a.user_id = u.id AND a.role >= 0
JOIN members b ON b.conversation_id = a.conversation_id AND b.role >= 0
JOIN users o ON o.id = b.user_id
WHERE u.name = ? AND o.name = ? LIMIT 1
"""

# user, members of a room at most, limit.
CONTACTS = """
SELECT DISTINCT o.name FROM users u
JOIN members a ON a.user_id = u.id AND a.role >= 0
    AND (SELECT count(*) FROM members WHERE conversation_id = a.conversation_id AND role >= 0) <= ?2
JOIN members b ON b.conversation_id = a.conversation_id AND b.role >= 0 AND b.user_id != u.id
JOIN users o ON o.id = b.user_id
WHERE u.name = ?1 ORDER BY o.name LIMIT ?3
"""

# user.
LAST_SEEN = "SELECT max(d.seen_ms) FROM users u JOIN devices d ON d.user_id = u.id WHERE u.name = ?"

# user. Her id, and whether the next two have anything to find: each costs twice what this does.
ARRIVAL = """
SELECT id,
    EXISTS (SELECT 1 FROM members WHERE user_id = users.id),
    EXISTS (SELECT 1 FROM blocks WHERE user_id = users.id)
FROM users WHERE name = ?
"""

# user's id. The rooms she is inside.
INSIDE_ROOMS = """
SELECT c.name FROM members m CROSS JOIN conversations c ON c.id = m.conversation_id
WHERE m.user_id = ? AND m.role >= 0 AND c.kind = 1
"""

# user's id.
BLOCKED = """
SELECT o.name FROM blocks b CROSS JOIN users o ON o.id = b.blocked_id WHERE b.user_id = ?
"""
