"""The tables of leases, and the function that asks, releases, renews and grants in one round trip.

They are unlogged: a lease costs no write to the disk. A crash of the server empties them. Then nobody is
granted anything for `EXPIRY_S`, in which those who hold slots say so again.
"""

from __future__ import annotations

EXPIRY_S = 6.0
"""After so long without a renewal an owner without connection loses its leases; `EXCHANGE` repeats it."""

TABLES = (
    "CREATE UNLOGGED TABLE lease_owners (id TEXT PRIMARY KEY, host TEXT NOT NULL, process BIGINT NOT NULL, "
    "beat_at TIMESTAMPTZ NOT NULL) WITH (fillfactor = 50)",
    "CREATE UNLOGGED TABLE leases (owner TEXT NOT NULL, number BIGINT NOT NULL, server TEXT NOT NULL, "
    "slot TEXT, session TEXT, model TEXT NOT NULL, priority BIGINT NOT NULL, "
    "is_overdue BOOLEAN NOT NULL DEFAULT FALSE, asked_at TIMESTAMPTZ NOT NULL, granted_at TIMESTAMPTZ, "
    "PRIMARY KEY (owner, number))",
    "CREATE INDEX leases_waiting ON leases (server, is_overdue DESC, priority DESC, asked_at, owner, number) "
    "WHERE granted_at IS NULL",
    "CREATE INDEX leases_waiting_sessions ON leases (session) WHERE granted_at IS NULL",
    "CREATE INDEX leases_held ON leases (server) WHERE granted_at IS NOT NULL",
    "CREATE INDEX leases_held_sessions ON leases (session) WHERE granted_at IS NOT NULL",
    "CREATE UNLOGGED TABLE lease_limits (name TEXT NOT NULL, owner TEXT NOT NULL, slots BIGINT NOT NULL, "
    "PRIMARY KEY (name, owner))",
    "CREATE UNLOGGED TABLE lease_servers (name TEXT PRIMARY KEY, model TEXT NOT NULL, "
    "loaded_at TIMESTAMPTZ NOT NULL) WITH (fillfactor = 50)",
    "CREATE UNLOGGED TABLE lease_epoch (begun_at TIMESTAMPTZ NOT NULL)",
    "INSERT INTO lease_epoch VALUES ('-infinity')",
)
"""Who may hold slots, what is asked and held, how many slots owners know of, and what servers have loaded.

`lease_epoch` is empty after a crash of the server.
"""

HAS_ROOM = """
CREATE FUNCTION swarm_has_room(of_server TEXT, of_slot TEXT, of_session TEXT) RETURNS BOOLEAN
LANGUAGE plpgsql AS $$
BEGIN
    IF of_session IS NOT NULL AND (SELECT min(slots) FROM lease_limits WHERE name = of_session) <=
        (SELECT count(*) FROM leases WHERE session = of_session AND granted_at IS NOT NULL)
    THEN RETURN FALSE; END IF;
    RETURN of_slot IS NULL OR NOT EXISTS (
        SELECT FROM leases WHERE server = of_server AND slot = of_slot AND granted_at IS NOT NULL
    );
END $$
"""
"""Whether a request for a slot of a server waits for its session, or for the numbered slot that it needs."""

GRANT = """
CREATE FUNCTION swarm_grant(me TEXT, of_server TEXT, at TIMESTAMPTZ) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE
    room BIGINT; chosen RECORD; preferred RECORD; loaded RECORD;
BEGIN
    room := (SELECT min(slots) FROM lease_limits WHERE name = of_server)
        - (SELECT count(*) FROM leases WHERE server = of_server AND granted_at IS NOT NULL);
    WHILE room > 0 LOOP
        SELECT l.* INTO chosen FROM leases l WHERE server = of_server AND granted_at IS NULL
            AND swarm_has_room(server, slot, session)
            AND EXISTS (
                SELECT FROM lease_owners WHERE id = l.owner AND beat_at > at - interval '2.5 seconds'
            )
            ORDER BY is_overdue DESC, priority DESC, asked_at, owner, number LIMIT 1;
        EXIT WHEN NOT FOUND;
        SELECT * INTO loaded FROM lease_servers WHERE name = of_server;
        IF FOUND AND NOT chosen.is_overdue AND loaded.model <> chosen.model
            AND loaded.loaded_at > at - interval '10 seconds'
        THEN
            SELECT l.* INTO preferred FROM leases l WHERE server = of_server AND granted_at IS NULL
                AND NOT is_overdue AND priority = chosen.priority AND model = loaded.model
                AND swarm_has_room(server, slot, session)
                AND EXISTS (
                    SELECT FROM lease_owners WHERE id = l.owner AND beat_at > at - interval '2.5 seconds'
                )
                ORDER BY asked_at, owner, number LIMIT 1;
            IF FOUND THEN chosen := preferred; END IF;
        END IF;
        UPDATE leases SET granted_at = at WHERE owner = chosen.owner AND number = chosen.number;
        INSERT INTO lease_servers AS s VALUES (of_server, chosen.model, at) ON CONFLICT (name)
            DO UPDATE SET model = excluded.model, loaded_at = at WHERE s.model <> excluded.model;
        IF chosen.owner <> me THEN PERFORM pg_notify(chosen.owner, ''); END IF;
        room := room - 1;
    END LOOP;
END $$
"""
"""Grant what a server has room for: the overdue first, then by priority, the loaded model, and age.

The loaded model is preferred for 10 s at a stretch: then the oldest request decides, so nothing starves. An
owner that has not renewed for 2.5 s is granted nothing: it may be dead.
"""

EXCHANGE = """
CREATE FUNCTION swarm_leases(me TEXT, told JSONB) RETURNS BIGINT[]
LANGUAGE plpgsql AS $$
DECLARE
    at TIMESTAMPTZ; epoch TIMESTAMPTZ; gone TEXT[]; servers TEXT[]; sessions TEXT[]; one TEXT;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('swarm_graph leases', 0));
    at := clock_timestamp();
    SELECT begun_at INTO epoch FROM lease_epoch;
    IF NOT FOUND THEN
        INSERT INTO lease_epoch VALUES (at);
        epoch := at;
    END IF;
    UPDATE lease_owners SET beat_at = at WHERE id = me;
    IF told->'joins' IS NOT NULL THEN
        PERFORM pg_advisory_lock_shared(hashtextextended(me, 0));
        INSERT INTO lease_owners VALUES (me, told->'joins'->>'host', (told->'joins'->>'process')::bigint, at)
            ON CONFLICT DO NOTHING;
        DELETE FROM leases WHERE owner = me AND number NOT IN (
            SELECT (ask->>'number')::bigint FROM jsonb_array_elements(told->'asks') AS ask
        );
    ELSIF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO lease_limits SELECT key, me, value::bigint FROM jsonb_each_text(told->'limits')
        ON CONFLICT (name, owner) DO UPDATE SET slots = excluded.slots;
    DELETE FROM lease_limits WHERE owner = me
        AND name IN (SELECT jsonb_array_elements_text(told->'forgets'));
    INSERT INTO leases (owner, number, server, slot, session, model, priority, asked_at, granted_at)
        SELECT me, number, server, slot, session, model, priority,
            at - make_interval(secs => waited), CASE WHEN held THEN at END
        FROM jsonb_to_recordset(told->'asks') AS ask(number BIGINT, server TEXT, slot TEXT, session TEXT,
            model TEXT, priority BIGINT, waited DOUBLE PRECISION, held BOOLEAN)
        ON CONFLICT DO NOTHING;
    WITH freed AS (
        DELETE FROM leases WHERE owner = me
            AND number IN (SELECT jsonb_array_elements_text(told->'releases')::bigint)
            RETURNING server, session
    ) SELECT array_agg(server), array_agg(session) INTO servers, sessions FROM freed;
    IF told->'sweeps' IS NOT NULL THEN
        UPDATE leases SET is_overdue = TRUE WHERE granted_at IS NULL AND NOT is_overdue
            AND asked_at < at - interval '10 minutes';
        gone := ARRAY(
            SELECT id FROM lease_owners, LATERAL (SELECT hashtextextended(id, 0) AS key) AS own
            WHERE id <> me AND beat_at < at - interval '6 seconds' AND NOT EXISTS (
                SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND classid::bigint = ((key >> 32) & 4294967295) AND objid::bigint = (key & 4294967295)
            )
        );
        DELETE FROM leases WHERE owner = ANY(gone);
        DELETE FROM lease_limits WHERE owner = ANY(gone);
        DELETE FROM lease_owners WHERE id = ANY(gone);
    END IF;
    IF at >= epoch + interval '6 seconds' THEN
        FOR one IN
            SELECT unnest(servers)
            UNION SELECT ask->>'server' FROM jsonb_array_elements(told->'asks') AS ask
            UNION SELECT server FROM leases WHERE granted_at IS NULL AND session = ANY(sessions)
            UNION SELECT server FROM leases WHERE granted_at IS NULL AND told->'sweeps' IS NOT NULL
        LOOP
            PERFORM swarm_grant(me, one, at);
        END LOOP;
    END IF;
    RETURN ARRAY(SELECT number FROM leases WHERE owner = me AND granted_at IS NOT NULL);
END $$
"""
"""All that an owner says to the others, in one transaction; returns the numbers of what it holds.

It returns NULL to an owner that is not known, which then has to join: the server has crashed, or the owner
was taken for dead. Who joins says all that it waits for, and what it holds.
"""

STATEMENTS = (*TABLES, HAS_ROOM, GRANT, EXCHANGE)
"""The step that makes them."""
