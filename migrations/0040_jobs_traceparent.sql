-- A job belongs to the trace of the request that asked for it, whenever and wherever it is done. W3C Trace Context.

alter table jobs add column traceparent text
    check (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$');
