-- When the first Redis of this installation was born, in microseconds of its own time: whoever is asked by a later one
-- knows that counts were lost.

create table redis_born (
    singleton boolean primary key default true check (singleton),
    first bigint not null
);
grant select, insert on redis_born to insula_platform;
