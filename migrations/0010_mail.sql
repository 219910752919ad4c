-- Mail to be sent, written in the transaction that wants it, and the single-use tokens that mails carry.

create table mails (
    id uuid primary key,
    recipient text not null,
    -- Which text it is; the parameters fill it in.
    template text not null,
    params jsonb not null default '{}',
    -- The token in its link, sealed: nobody who reads the database can use it. Forgotten once sent.
    secret bytea,
    -- On whose behalf.
    org_id uuid references orgs,
    created_at timestamptz not null,
    due_at timestamptz not null,
    attempts integer not null default 0,
    sent_at timestamptz,
    -- Given up, or the last refusal.
    error text
);
create index mails_due on mails (due_at) where sent_at is null;
grant select, insert, update, delete on mails to insula_platform;

create table mail_tokens (
    hash bytea primary key,
    purpose text not null,
    user_id uuid not null references users,
    data jsonb not null default '{}',
    created_at timestamptz not null,
    expires_at timestamptz not null
);
create index mail_tokens_by_user on mail_tokens (user_id, purpose);
create index mail_tokens_expires_at on mail_tokens (expires_at);
grant select, insert, update, delete on mail_tokens to insula_platform;

-- For functions of the gate. The id is in the words that its secret is sealed with.
create function queue_mail(id uuid, recipient text, template text, params jsonb, secret bytea, org uuid, at timestamptz)
    returns void
    language sql
    as $$
    insert into mails (id, recipient, template, params, secret, org_id, created_at, due_at)
    values (id, recipient, template, params, secret, org, at, at)
$$;
grant execute on function queue_mail to insula_platform;

-- For transactions of an org, on whose behalf it is sent.
create function gate_mail(id uuid, recipient text, template text, params jsonb, secret bytea, at timestamptz)
    returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select queue_mail(id, recipient, template, params, secret, current_setting('app.org_id')::uuid, at)
$$;

select hang_gates();
