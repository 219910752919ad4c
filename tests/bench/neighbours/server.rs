//! The program as it is run, from outside.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::Child,
    thread,
};

/// Where it says that it serves. What it says afterwards is read and forgotten, so that it is never held up by it.
pub fn told(server: &mut Child) -> SocketAddr {
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().unwrap().unwrap();
        let address = line.split_once(r#""address":""#).and_then(|(_, rest)| rest.split_once('"'));
        if let Some((address, _)) = address {
            break address.parse().unwrap();
        }
        eprintln!("{line}");
    };
    thread::spawn(move || lines.for_each(drop));
    address
}
