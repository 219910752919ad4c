"""Tries a server against its own OpenAPI document, as three roles of two organisations: no check may fail."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time

import requests

INSULA, SECONDS = sys.argv[1], int(sys.argv[2])
CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schemathesis.toml")
WHO = [("acme", "owner"), ("acme", "member"), ("acme", "viewer"), ("globex", "owner"), ("globex", "member"), ("globex", "viewer")]
# What ends the very session or account that asks: the rest of the run would be answered 401.
ENDS_THE_RUN = [
    "logout", "delete_me", "delete_org", "leave_org", "end_session", "change_password", "enrol_totp",
    "confirm_totp", "update_org",
]

# A stream has no last byte to wait for.
NEVER_ENDS = ["follow_events", "follow_events_by_socket"]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def demo(directory, server):
    """What `insula dev` says once it is ready."""
    file = os.path.join(directory, "demo.json")
    while not os.path.exists(file):
        if server.poll() is not None:
            sys.exit("insula dev has ended")
        time.sleep(0.1)
    with open(file, encoding="utf-8") as text:
        return json.load(text)


def token(base, member, org):
    login = {"email": member["email"], "password": member["password"], "org": org}
    answer = requests.post(f"{base}/api/v1/auth/login", json=login, timeout=30)
    answer.raise_for_status()
    return answer.json()["access_token"]


def roomy(base, told):
    """Both organisations get the widest tier: refusals by limits would say little."""
    operator = token(base, told["operator"], "platform")
    for org in told["orgs"]:
        requests.patch(
            f"{base}/operator/v1/orgs/{org['id']}",
            json={"tier": "enterprise", "reason": "to be tried"},
            headers={"Authorization": f"Bearer {operator}"},
            timeout=30,
        ).raise_for_status()


def attempt(base, org, role, bearer, seconds, directory):
    print(f"\n-- {role} of {org}", flush=True)
    command = [
        os.path.join(os.path.dirname(sys.executable), "schemathesis"), "--config-file", CONFIG, "run", f"{base}/openapi.json",
        "--checks", "all", "--workers", "1", "--no-color", "--max-time", str(seconds),
        "--max-examples", "10", "--continue-on-failure", "--request-timeout", "30", "--suppress-health-check", "all",
        "--header", f"Authorization: Bearer {bearer}",
    ]
    for operation in [*ENDS_THE_RUN, *NEVER_ENDS]:
        command += ["--exclude-operation-id", operation]
    hooks = {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": os.path.dirname(CONFIG)}
    return subprocess.run(command, cwd=directory, env={**os.environ, **hooks}, check=False).returncode


def main():
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        port = free_port()
        with open(os.path.join(directory, "log"), "w", encoding="utf-8") as log:
            server = subprocess.Popen(
                [INSULA, "dev", "--port", str(port), "--data-dir", os.path.join(directory, "dev")], stdout=log, stderr=log
            )
        try:
            told = demo(os.path.join(directory, "dev"), server)
            base = told["base_url"]
            roomy(base, told)
            orgs = {org["slug"]: org for org in told["orgs"]}
            failed = []
            for org, role in WHO:
                member = next(member for member in orgs[org]["members"] if member["role"] == role)
                bearer = token(base, member, org)
                if attempt(base, org, role, bearer, SECONDS // len(WHO), directory):
                    failed.append(f"{role} of {org}")
            if failed:
                sys.exit(f"checks failed as {', '.join(failed)}")
        finally:
            server.terminate()
            server.wait()


main()
