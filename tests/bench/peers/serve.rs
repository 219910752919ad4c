//! The server itself, with one thing before it: the harness sends the same headers with each request, so an order has no
//! key of its own, and is given one here.

use crate::cluster::{Cluster, told};
use axum::{
    extract::Request,
    http::{HeaderValue, Method},
    middleware::{Next, from_fn},
    response::Response,
};
use insula::{
    app::{App, stopped_by_signal},
    clock::Clock,
    ids::RequestId,
    router::router,
    telemetry,
};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;

const KEY: &str = "idempotency-key";

/// The app listens too, at an address that nobody knows: what it does besides serving goes on.
pub async fn serve(cluster: &Cluster) {
    let config = cluster.config();
    config.check_for_serving().unwrap();
    telemetry::init(&config.log).unwrap();
    let stop = stopped_by_signal().unwrap();
    let app = App::build(config, Clock::system()).await.unwrap();
    let port: u16 = told("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let service =
        router(app.state()).layer(from_fn(keyed)).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    let (served, stopped) = tokio::join!(serving.into_future(), app.run_until_stopped(stop));
    served.unwrap();
    stopped.unwrap();
}

async fn keyed(mut request: Request, next: Next) -> Response {
    let is_order = request.method() == Method::POST && request.uri().path() == "/api/v1/orders";
    if is_order && !request.headers().contains_key(KEY) {
        let key = HeaderValue::try_from(RequestId::new().to_string()).unwrap();
        request.headers_mut().insert(KEY, key);
    }
    next.run(request).await
}
