-- Monthly quotas: what of them is used in the billing month that runs.

-- The day on which an org's billing months begin, at 00:00 UTC, or the last of a shorter month. Null: the day of the month
-- on which it was created.
alter table org_control add column billing_day smallint check (billing_day between 1 and 31);

create table monthly_uses (
    org_id uuid not null references orgs,
    -- The org itself, or the user or key whose use is counted by itself.
    subject uuid not null,
    policy text not null,
    period_start date not null,
    -- What replicas have reserved and not handed back counts as used.
    used bigint not null check (used >= 0),
    primary key (org_id, subject, policy)
);
select tenant_table('monthly_uses');
revoke insert, update, delete on monthly_uses from insula_app;
select platform_access('monthly_uses', 'select, insert, update, delete');

-- Takes `need` of a quota and as much above it as `most` and a `parts`-th of what is left allow, or nothing if `need` does not
-- fit. Before that `back` is handed back, and `owed`, which was admitted while nobody could be asked, is charged. A caller
-- that has another billing day in mind is told the right one, and nothing is done.
create function take_month(
    org uuid, whose uuid, named text, quota bigint, day smallint, start date,
    need bigint, most bigint, parts bigint, back bigint, owed bigint,
    out granted bigint, out total bigint, out billing_day smallint
)
    language plpgsql
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    running date;
    available bigint;
begin
    granted := 0;
    total := 0;
    -- Shared with other takes; a change of the day waits for them, and they for it.
    select coalesce(control.billing_day, extract(day from orgs.created_at at time zone 'utc')) into billing_day
    from org_control control join orgs on orgs.id = control.org_id
    where control.org_id = org
    for share of control;
    if billing_day is distinct from day then
        return;
    end if;
    if need = 0 and back = 0 and owed = 0 then
        select used into total from monthly_uses
        where org_id = org and subject = whose and policy = named and period_start >= start;
        total := coalesce(total, 0);
        return;
    end if;
    insert into monthly_uses as known (org_id, subject, policy, period_start, used)
    values (org, whose, named, start, 0)
    on conflict (org_id, subject, policy) do update
    set period_start = greatest(known.period_start, start),
        used = case when known.period_start < start then 0 else known.used end
    returning period_start, used into running, total;
    -- What was taken of an earlier month went with it.
    if running = start then
        total := greatest(total - back, 0);
    end if;
    total := total + owed;
    available := quota - total;
    if need > 0 and need <= available then
        granted := least(available, greatest(need, least(most, available / parts)));
        total := total + granted;
    end if;
    update monthly_uses set used = total where org_id = org and subject = whose and policy = named;
end
$$;
revoke execute on function take_month from public;
grant execute on function take_month to insula_platform;
