//! How many requests were answered with what, and how long each took.

use super::Text;
use axum::http::{Method, StatusCode};
use parking_lot::Mutex;
use std::{collections::BTreeMap, time::Duration};

/// Upper bounds of the buckets that durations are counted in, in seconds.
const BOUNDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Of all requests to addresses that are none of ours.
const NONE: &str = "none";

/// By the template of the route, and by method.
#[derive(Debug, Default)]
pub struct Requests(Mutex<BTreeMap<String, Vec<(&'static str, Series)>>>);

#[derive(Debug, Default)]
struct Series {
    statuses: BTreeMap<StatusCode, u64>,
    /// How many took at most as long as each bound, and longer than the one before.
    within: [u64; BOUNDS.len()],
    seconds: f64,
}

impl Requests {
    /// `route` is its template, if there is one.
    pub fn answered(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let (method, route) = (known(method), route.unwrap_or(NONE));
        let mut routes = self.0.lock();
        match routes.get_mut(route) {
            Some(methods) => of(methods, method).add(status, took),
            None => of(routes.entry(route.to_owned()).or_default(), method).add(status, took),
        }
    }

    /// Since the process began.
    pub fn tell(&self, text: &mut Text) {
        let routes = self.0.lock();
        let all = || {
            routes.iter().flat_map(|(route, methods)| {
                methods.iter().map(move |(method, series)| ([("method", *method), ("route", route)], series))
            })
        };
        let name = "insula_http_requests_total";
        text.family(name, "counter", "Requests that were answered.");
        for ([method, route], series) in all() {
            for (status, count) in &series.statuses {
                text.sample(name, &[method, route, ("status", status.as_str())], count);
            }
        }
        let name = "insula_http_request_duration_seconds";
        text.family(name, "histogram", "How long it took until an answer began.");
        for ([method, route], series) in all() {
            let mut sum = 0;
            for (bound, within) in BOUNDS.iter().zip(series.within) {
                sum += within;
                text.sample(&format!("{name}_bucket"), &[method, route, ("le", &bound.to_string())], sum);
            }
            let count: u64 = series.statuses.values().sum();
            text.sample(&format!("{name}_bucket"), &[method, route, ("le", "+Inf")], count);
            text.sample(&format!("{name}_sum"), &[method, route], series.seconds);
            text.sample(&format!("{name}_count"), &[method, route], count);
        }
    }
}

impl Series {
    fn add(&mut self, status: StatusCode, took: Duration) {
        let seconds = took.as_secs_f64();
        *self.statuses.entry(status).or_default() += 1;
        self.seconds += seconds;
        if let Some(place) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.within[place] += 1;
        }
    }
}

fn of<'m>(methods: &'m mut Vec<(&'static str, Series)>, method: &'static str) -> &'m mut Series {
    let place = methods.iter().position(|(known, _)| *known == method).unwrap_or_else(|| {
        methods.push((method, Series::default()));
        methods.len() - 1
    });
    &mut methods[place].1
}

/// Anybody can invent methods.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_took_at_most_as_long_and_nobody_can_make_up_a_label() {
        let requests = Requests::default();
        let path = Some("/api/v1/products/{id}");
        for millis in [1, 3, 30_000] {
            requests.answered(&Method::GET, path, StatusCode::OK, Duration::from_millis(millis));
        }
        let strange = Method::from_bytes(b"BREW").unwrap();
        requests.answered(&strange, None, StatusCode::NOT_FOUND, Duration::ZERO);
        let mut text = Text::default();
        requests.tell(&mut text);
        let text = text.into_string();
        for line in [
            r#"insula_http_requests_total{method="GET",route="/api/v1/products/{id}",status="200"} 3"#,
            r#"insula_http_requests_total{method="other",route="none",status="404"} 1"#,
            r#"insula_http_request_duration_seconds_bucket{method="GET",route="/api/v1/products/{id}",le="0.001"} 1"#,
            r#"insula_http_request_duration_seconds_bucket{method="GET",route="/api/v1/products/{id}",le="0.0025"} 1"#,
            r#"insula_http_request_duration_seconds_bucket{method="GET",route="/api/v1/products/{id}",le="10"} 2"#,
            r#"insula_http_request_duration_seconds_bucket{method="GET",route="/api/v1/products/{id}",le="+Inf"} 3"#,
            r#"insula_http_request_duration_seconds_sum{method="GET",route="/api/v1/products/{id}"} 30.004"#,
            r#"insula_http_request_duration_seconds_count{method="GET",route="/api/v1/products/{id}"} 3"#,
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }
}
