//! The official libraries of Standard Webhooks, as receivers use them: fetched once, in versions that are pinned.

use super::receiver::Received;
use serde_json::json;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

#[derive(Clone, Copy, Debug)]
pub enum Library {
    Python,
    JavaScript,
}

pub const LIBRARIES: [Library; 2] = [Library::Python, Library::JavaScript];

const PYTHON: &str = "standardwebhooks==1.1.0";
const JAVASCRIPT: &str = "standardwebhooks@1.1.1";

/// Ends with 3 where the signature is not good, and with something else where the library can't be used.
const IN_PYTHON: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
asked = json.load(sys.stdin)
try:
    print(json.dumps(Webhook(asked['secret']).verify(asked['body'], asked['headers'])))
except WebhookVerificationError:
    sys.exit(3)
";
const IN_JAVASCRIPT: &str = "
const { Webhook, WebhookVerificationError } = require('standardwebhooks');
const asked = JSON.parse(require('fs').readFileSync(0, 'utf8'));
try {
    console.log(JSON.stringify(new Webhook(asked.secret).verify(asked.body, asked.headers)));
} catch (error) {
    process.exit(error instanceof WebhookVerificationError ? 3 : 1);
}
";

static HOME: LazyLock<PathBuf> = LazyLock::new(install);

/// What the library reads in a request, for whoever has this secret; none where it does not believe the signature.
pub fn verified(library: Library, secret: &str, received: &Received) -> Option<serde_json::Value> {
    let asked = json!({"secret": secret, "headers": received.headers, "body": received.body});
    let mut command = match library {
        Library::Python => {
            let mut python = Command::new("python3");
            python.args(["-c", IN_PYTHON]).env("PYTHONPATH", HOME.join("python"));
            python
        }
        Library::JavaScript => {
            let mut node = Command::new("node");
            node.args(["-e", IN_JAVASCRIPT]).current_dir(HOME.join("javascript"));
            node
        }
    };
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.code() {
        Some(0) => Some(serde_json::from_slice(&output.stdout).unwrap()),
        Some(3) => None,
        _ => panic!("{library:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Whole or not at all, whoever does it at the same time.
fn install() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{PYTHON} {JAVASCRIPT}"));
    if home.exists() {
        return home;
    }
    let half = home.with_extension(format!("{}.half", std::process::id()));
    fs::create_dir_all(&half).unwrap();
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--target"])
        .arg(half.join("python"))
        .arg(PYTHON));
    let to = half.join("javascript");
    run(Command::new("npm").args(["install", "--no-fund", "--no-audit", "--prefix"]).arg(to).arg(JAVASCRIPT));
    // Whoever was faster has put the same there.
    if fs::rename(&half, &home).is_err() {
        assert!(home.exists());
        fs::remove_dir_all(&half).unwrap();
    }
    home
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
