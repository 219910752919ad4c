-- Events that are asked for again are deliveries that a request makes, many at once, with ids that sort like all others.

grant execute on function uuid_v7 to insula_app;
