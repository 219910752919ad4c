//! `insula policy check`: a line for each thing that is wrong, and an exit code for machines.

use super::support::{Binary, Dir, TestApp};
use insula::{authz, people};
use std::fs;

#[tokio::test]
async fn the_files_of_this_release_are_fine_and_no_setting_is_needed_to_say_so() {
    let (code, said) = Binary::run(&["policy", "check"], &[]).await;
    assert_eq!((code, said.as_str()), (0, "Nothing is wrong with the policy files.\n"));
}

#[tokio::test]
async fn each_fault_of_a_folder_is_a_line() {
    let dir = Dir::new();
    fs::write(dir.path().join("model.conf"), authz::MODEL.replace(" && !some(where (p.eft == deny))", ""))
        .unwrap();
    fs::write(
        dir.path().join("roles.csv"),
        format!("{}p, viewer, produce, read, allow\ng, viewer, owner\n", authz::ROLES),
    )
    .unwrap();
    let (code, said) = Binary::run(&["policy", "check", "--dir", dir.path().to_str().unwrap()], &[]).await;
    assert_eq!(code, 1);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert_eq!(lines[0], "model.conf: the effect is not that something allows and nothing denies");
    assert!(
        lines[1].starts_with("roles.csv:") && lines[1].contains("\"produce\", which does not exist"),
        "{said}"
    );
    assert_eq!(lines[2], "roles.csv: the roles inherit one another: admin > member > viewer > owner > admin");

    let (code, said) = Binary::run(&["policy", "check", "--dir", "/nowhere"], &[]).await;
    assert_eq!(code, 1);
    assert!(said.contains("/nowhere/model.conf"), "{said}");
}

#[tokio::test]
async fn the_roles_of_organisations_are_looked_at_where_that_is_asked_for() {
    let app = TestApp::start().await;
    let (acme, globex) = (app.org().await, app.org().await);
    let urls = [app.database.url("insula_app"), app.database.url("insula_platform")];
    let settings = [
        ("INSULA_DATABASE__APP_URL", urls[0].as_str()),
        ("INSULA_DATABASE__PLATFORM_URL", &urls[1]),
        ("INSULA_AUTH__MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ];
    let check = async |args: &[&str]| Binary::run(&[&["policy", "check"], args].concat(), &settings).await;
    app.database.custom_role(globex.id, "clerk", &["viewer"], &["orders:create"], &[]).await;
    // Two of them with their sandboxes, and the platform.
    let fine = (0, "Nothing is wrong with the policy files and 5 organisations.\n".to_owned());
    assert_eq!(check(&["--all"]).await, fine);

    app.database.custom_role(acme.id, "odd", &["gone"], &["products:fly"], &[]).await;
    app.database.custom_role(acme.id, "a", &["b"], &[], &[]).await;
    app.database.custom_role(acme.id, "b", &["a"], &[], &[]).await;
    people::set_member(&app.state.platform, acme.id, acme.viewer.user(), &["intern", "viewer"])
        .await
        .unwrap();
    let faults = [
        "the role odd names the permission \"products:fly\", which does not exist".to_owned(),
        "the role odd inherits gone, which does not exist".to_owned(),
        "the roles inherit one another: a > b > a".to_owned(),
        format!("{} holds the role intern, which does not exist", acme.viewer.user()),
    ]
    .map(|fault| format!("{}: {fault}\n", acme.slug));
    for args in [&["--all"][..], &["--org", &acme.slug], &["--org", &acme.id.to_string()]] {
        assert_eq!(check(args).await, (1, faults.concat()), "{args:?}");
    }
    let (code, said) = check(&["--org", &globex.slug]).await;
    assert_eq!((code, said.as_str()), (0, "Nothing is wrong with the policy files and 1 organisations.\n"));
    let (code, said) = check(&["--org", "nobody"]).await;
    assert_eq!(code, 1);
    assert!(said.contains("there is no such organisation"), "{said}");

    let (code, said) = Binary::run(&["policy", "check", "--all"], &[]).await;
    assert_eq!(code, 2);
    assert!(said.contains("INSULA_DATABASE__APP_URL: is not set"), "{said}");
}
