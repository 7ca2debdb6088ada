//! What a bad configuration is answered with, and a bare clone's good one.

use crate::harness::command;

#[test]
fn the_shipped_configuration_is_fine() {
    let checked = command(env!("CARGO_MANIFEST_DIR").as_ref(), &["check", "--config", "config/postbackd.toml"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
}

#[test]
fn all_errors_of_all_files_come_in_one_run_with_file_line_key_and_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    std::fs::create_dir(directory.path().join("affiliates")).unwrap();
    write("events.toml", "[ftd]\ndescription = \"x\"\nrequired = [\"payuot\"]\n");
    write(
        "postbackd.toml",
        "events = \"events.toml\"\naffiliates = \"affiliates\"\n[outbox]\npath = \"data\"\nengine = \"rocksdb\"\n\
         [api]\nlisten = \"nowhere\"\n[dispatch]\nin_flght = 5\n",
    );
    write(
        "affiliates/acme.toml",
        "id = \"acme\"\nname = \"Acme\"\n[[postback]]\nname = \"a\"\nevents = [\"fdt\"]\n\
         url = \"http://track.example/?cid={clickid}\"\n[postback.retry]\ninitial = \"fast\"\n",
    );
    for arguments in [["check"], ["run"]] {
        let finished = command(directory.path(), &[&["--config", "postbackd.toml"][..], &arguments].concat());
        assert_eq!(finished.code, 7, "{}", finished.stderr);
        let told = format!("{}{}", finished.stdout, finished.stderr);
        for expected in [
            "events.toml:3:",
            "postbackd.toml:5:",
            "postbackd.toml:7:",
            "postbackd.toml:9:",
            "in_flight",
            "acme.toml:5:",
            "acme.toml:6:",
            "click_id",
            "acme.toml:8:",
        ] {
            assert!(told.contains(expected), "{expected} is missing in:\n{told}");
        }
    }
    assert!(!directory.path().join("data").exists());
}
