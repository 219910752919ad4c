-- The keys that access tokens are signed with: the next one, the one in use, and those whose tokens are still about.

create table signing_keys (
    -- RFC 7638: the thumbprint of the public key.
    kid text primary key check (kid ~ '^[A-Za-z0-9_-]{43}$'),
    -- RFC 8037: its x.
    public_key bytea not null check (length(public_key) = 32),
    -- The private half, sealed with the platform's master key. A previous key has none: it signs nothing any more.
    seed bytea,
    state text not null check (state in ('standby', 'current', 'previous')),
    created_at timestamptz not null,
    activated_at timestamptz,
    retired_at timestamptz,
    check ((activated_at is null) = (state = 'standby')),
    check ((retired_at is null) = (state <> 'previous')),
    check ((seed is null) = (state = 'previous'))
);
create unique index signing_keys_standby on signing_keys (state) where state = 'standby';
create unique index signing_keys_current on signing_keys (state) where state = 'current';
grant select, insert, update (seed, state, activated_at, retired_at), delete on signing_keys to insula_platform;
