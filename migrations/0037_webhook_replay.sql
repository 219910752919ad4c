-- Events that are asked for again are deliveries that a request makes, many at once, with ids that sort like all others.

grant execute on function uuid_v7 to insula_app;

-- A webhook that is deleted is gone for its org at once. What was sent to it, which may be a million rows, goes bit by bit.
alter table webhook_endpoints
    add column deleted_at timestamptz,
    add check (deleted_at is null or status = 'disabled');
grant update (deleted_at) on webhook_endpoints to insula_app;
grant delete on webhook_endpoints to insula_platform;
