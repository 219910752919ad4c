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
    given_up_at timestamptz,
    -- The last refusal.
    error text
);
create index mails_due on mails (due_at) where sent_at is null and given_up_at is null;
create index mails_created_at on mails (created_at);
grant select, insert, update, delete on mails to insula_platform;

create table mail_tokens (
    hash bytea primary key,
    purpose text not null,
    -- None: written for an unknown address, so that answering it takes as long as answering a known one.
    user_id uuid references users,
    data jsonb not null default '{}',
    created_at timestamptz not null,
    expires_at timestamptz not null
);
create index mail_tokens_by_user on mail_tokens (user_id, purpose);
create index mail_tokens_expires_at on mail_tokens (expires_at);
grant select, insert, update, delete on mail_tokens to insula_platform;

-- Letters come as jsonb: {id, template, params, secret}, and {token} where they carry one; bytes are in hex. The id is in
-- the words that the secret is sealed with. What follows is for functions of the gate.
create function queue_mail(recipient text, letter jsonb, params jsonb, org uuid, at timestamptz) returns void
    language sql
    as $$
    insert into mails (id, recipient, template, params, secret, org_id, created_at, due_at)
    values ((letter ->> 'id')::uuid, recipient, letter ->> 'template', letter -> 'params' || params,
            decode(letter ->> 'secret', 'hex'), org, at, at)
$$;

-- Nothing is sent: it takes as long as if it were.
create function send_nothing(letter jsonb, at timestamptz) returns void
    language sql
    as $$
    insert into mails (id, recipient, template, created_at, due_at, given_up_at)
    values ((letter ->> 'id')::uuid, '', letter ->> 'template', at, at, at)
$$;

-- To the address so far. Everyone knows the name of whom they are written to.
create function send_letter(person uuid, letter jsonb, at timestamptz) returns void
    language sql
    as $$
    select queue_mail(u.email, letter, jsonb_build_object('name', u.name), null, at) from users u where u.id = person
$$;

-- A letter whose token proves within half an hour that who has it reads the mail of `address`; `person` null for
-- nobody's. Five that are still good are enough: beyond that nothing is sent, whoever asks, so that no mailbox is
-- flooded. For the functions of the gate, which lock the person's row first.
create function send_token(person uuid, address text, letter jsonb, about jsonb, at timestamptz) returns void
    language plpgsql
    as $$
declare
    known users;
begin
    if (select count(*) >= 5 from mail_tokens t
        where t.user_id = person and t.purpose = letter ->> 'template' and t.expires_at > at) then
        perform send_nothing(letter, at);
        return;
    end if;
    insert into mail_tokens (hash, purpose, user_id, data, created_at, expires_at)
    values (decode(letter ->> 'token', 'hex'), letter ->> 'template', person, about, at, at + interval '30 minutes');
    select * into known from users u where u.id = person;
    if known.id is null or address is null then
        perform send_nothing(letter, at);
    else
        perform queue_mail(address, letter, jsonb_build_object('name', known.name), null, at);
    end if;
end
$$;
grant execute on function queue_mail, send_nothing, send_letter, send_token to insula_platform;

-- For transactions of an org, on whose behalf it is sent.
create function gate_mail(recipient text, letter jsonb, at timestamptz)
    returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select queue_mail(recipient, letter, '{}', current_setting('app.org_id')::uuid, at)
$$;

select hang_gates();
