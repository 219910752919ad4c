//! Each list comes out of an index, however it is sorted and filtered, by a plan that serves any org.

mod plan;

use super::support::{Crowd, TestApp};
use insula::{
    api::{
        api_keys::ApiKey,
        files::File,
        imports::ImportError,
        invitations::Invitation,
        orders::{Order, OrderStep},
        products::{DeletedProduct, Product},
        schedules::Schedule,
        users::Member,
        webhooks::{Webhook, WebhookAttempt, WebhookDelivery},
    },
    audit::AuditEvent,
    category::Category,
    events::Event,
    extract::Listed,
    ids::{CategoryId, DeliveryId, EventId, JobId, OrderId, ScheduleId, UserId, WebhookId},
    jobs::Job,
    page::{Asked, CursorKey, Filter, Kind, Sort},
};
use plan::{Plan, column};
use sqlx::{Executor as _, PgConnection};

const LISTS: [&str; 17] = [
    "/api/v1/api-keys",
    "/api/v1/audit-events",
    "/api/v1/categories",
    "/api/v1/events/history",
    "/api/v1/files",
    "/api/v1/imports/{id}/errors",
    "/api/v1/invitations",
    "/api/v1/jobs",
    "/api/v1/orders",
    "/api/v1/orders/{id}/history",
    "/api/v1/products",
    "/api/v1/products/deleted",
    "/api/v1/schedules",
    "/api/v1/users",
    "/api/v1/webhooks",
    "/api/v1/webhooks/{id}/attempts",
    "/api/v1/webhooks/{id}/deliveries",
];

/// Filters of lists that are as short as an org has people, or webhooks: its rows are looked at in the order of an index until the
/// page is full. An array's operators are not leakproof, so `roles` and `events` can have no index under row-level security; a
/// beginning of `email` or of `name` has one each, which a plan for any value does not trust to be the shorter way.
const WALKED: [&str; 3] = ["roles", "events", "email"];

macro_rules! of_each_list {
    ($check:ident) => {{
        let mut app = Crowd::gather().await.enter().await;
        app.execute("set local plan_cache_mode = force_generic_plan").await.unwrap();
        $check::<ApiKey>(&mut app).await;
        $check::<AuditEvent>(&mut app).await;
        $check::<Category>(&mut app).await;
        $check::<DeletedProduct>(&mut app).await;
        $check::<Event>(&mut app).await;
        $check::<File>(&mut app).await;
        $check::<ImportError>(&mut app).await;
        $check::<Invitation>(&mut app).await;
        $check::<Job>(&mut app).await;
        $check::<Member>(&mut app).await;
        $check::<Order>(&mut app).await;
        $check::<OrderStep>(&mut app).await;
        $check::<Product>(&mut app).await;
        $check::<Schedule>(&mut app).await;
        $check::<Webhook>(&mut app).await;
        $check::<WebhookAttempt>(&mut app).await;
        $check::<WebhookDelivery>(&mut app).await;
    }};
}

#[tokio::test]
async fn every_page_of_every_sort_leaves_an_index_in_its_order() {
    of_each_list!(sorts);
}

async fn sorts<T: Listed>(app: &mut PgConnection) {
    for sort in T::LISTING.sorts {
        for direction in ["", "-"] {
            let by = ("sort", format!("{direction}{}", sort.name));
            let first = asked::<T>(std::slice::from_ref(&by)).await;
            Plan::of::<T>(app, &first).await.is_walked_in_order();

            if T::LISTING.filters.iter().any(Filter::is_path) {
                continue;
            }
            let cursor = first.fetch::<T::Row, T>(app).await.unwrap().next_cursor.unwrap();
            let second = asked::<T>(&[by.clone(), ("cursor", cursor)]).await;
            let cursor = second.fetch::<T::Row, T>(app).await.unwrap().prev_cursor.unwrap();
            let back = asked::<T>(&[by, ("cursor", cursor)]).await;
            for beside in [second, back] {
                let plan = Plan::of::<T>(app, &beside).await;
                plan.is_walked_in_order();
                plan.looks_up(column(sort.column));
            }
        }
    }
}

#[tokio::test]
async fn a_filter_is_looked_up_in_an_index_and_not_in_each_row() {
    of_each_list!(filters);
}

async fn filters<T: Listed>(app: &mut PgConnection) {
    for filter in T::LISTING.filters {
        let narrowed = column(filter.predicate);
        if WALKED.contains(&narrowed) {
            continue;
        }
        // A range is an index's business only where the list is in the order of it.
        let sort = match filter.predicate.rsplit(' ').next() {
            Some("=") => &T::LISTING.sorts[0],
            _ if filter.predicate.contains("= any(") => &T::LISTING.sorts[0],
            _ => T::LISTING.sorts.iter().find(|sort| column(sort.column) == narrowed).unwrap(),
        };
        Plan::of::<T>(app, &asked::<T>(&[by(sort), with(filter)]).await).await.looks_up(narrowed);
    }
}

#[tokio::test]
async fn no_sort_with_any_filter_reads_a_table_or_puts_an_org_in_order() {
    of_each_list!(pairs);
}

async fn pairs<T: Listed>(app: &mut PgConnection) {
    for sort in T::LISTING.sorts {
        for filter in T::LISTING.filters {
            let plan = Plan::of::<T>(app, &asked::<T>(&[by(sort), with(filter)]).await).await;
            if plan.has("Sort") {
                plan.looks_up(column(filter.predicate));
            }
        }
        let everything: Vec<_> = [by(sort)].into_iter().chain(T::LISTING.filters.iter().map(with)).collect();
        Plan::of::<T>(app, &asked::<T>(&everything).await).await;
    }
}

#[tokio::test]
async fn every_list_of_the_api_is_explained_here() {
    let app = TestApp::start().await;
    let document = app.anon().get("/openapi.json").await.expect(200);
    let lists = document["paths"].as_object().unwrap().iter().filter(|(path, methods)| {
        let parameters = methods["get"]["parameters"].as_array();
        path.starts_with("/api/")
            && parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == "cursor"))
    });
    let mut lists: Vec<_> = lists.map(|(path, _)| path.as_str()).collect();
    lists.sort_unstable();
    assert_eq!(lists, LISTS, "add the new list here, to `of_each_list!`, and rows of it to the crowd");
}

async fn asked<T: Listed>(query: &[(&str, String)]) -> Asked {
    let mut query: Vec<_> = query.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
    // A list of one thing's parts is never asked for without it.
    for path in T::LISTING.filters.iter().filter(|filter| filter.is_path()).map(with) {
        if query.iter().all(|(name, _)| name != path.0) {
            query.push((path.0.to_owned(), path.1));
        }
    }
    Asked::parse(T::LISTING, Crowd::gather().await.org.uuid(), &CursorKey([0; 32]), &query).unwrap()
}

fn by(sort: &Sort) -> (&'static str, String) {
    ("sort", format!("-{}", sort.name))
}

/// With a value of the filter's kind; a plan for any value does not ask which.
fn with(filter: &Filter) -> (&'static str, String) {
    let value = match filter.kind {
        Kind::Id(parse) | Kind::WithinId(parse) => {
            let ids = [
                CategoryId::new().to_string(),
                UserId::new().to_string(),
                OrderId::new().to_string(),
                JobId::new().to_string(),
                ScheduleId::new().to_string(),
                WebhookId::new().to_string(),
                DeliveryId::new().to_string(),
                EventId::new().to_string(),
            ];
            ids.into_iter().find(|id| parse(id).is_some()).unwrap()
        }
        Kind::Int => "500".to_owned(),
        Kind::Bool => "true".to_owned(),
        Kind::Time => "2026-11-23T10:00:00Z".to_owned(),
        Kind::OneOf(words) => words[0].to_owned(),
        Kind::Text | Kind::Words | Kind::Name(_) | Kind::Within => "cog".to_owned(),
    };
    (filter.name, value)
}
