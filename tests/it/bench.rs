//! `bench`: every figure stands beside its baseline, and nothing stays behind.

use serde_json::Value;

use crate::harness::command;

/// The figures of a run, in a directory that is empty again behind it.
fn figures(arguments: &[&str]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let typed = [&["bench", "--json", "--turns", "1", "--events", "1000", "--directory", place], arguments].concat();
    let finished = command(directory.path(), &typed);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something stayed behind");
    let figures: Vec<Value> = serde_json::from_str(&finished.stdout).unwrap();
    for figure in &figures {
        assert!(figure["value"].as_f64().unwrap() > 0.0, "{figure}");
        // A ratio is nothing without what it is to.
        assert_eq!(figure["ratio"].is_null(), figure["baseline"].is_null(), "{figure}");
        assert_eq!(figure["target"].is_null(), figure["met"].is_null(), "{figure}");
    }
    figures
}

fn names(figures: &[Value]) -> Vec<&str> {
    figures.iter().map(|figure| figure["name"].as_str().unwrap()).collect()
}

#[test]
fn the_usual_figures_stand_beside_what_was_measured_in_the_same_run() {
    let figures = figures(&["--only", "cycle,whole-way,stages"]);
    let compared = |start: &str| {
        let of = |figure: &&Value| figure["name"].as_str().unwrap().starts_with(start) && !figure["ratio"].is_null();
        figures.iter().filter(of).count()
    };
    assert_eq!((compared("full cycles"), compared("the whole way")), (1, 4), "{:?}", names(&figures));
    let stages = ["accept, single events", "accept, batches of 100", "dispatch + settle"];
    for stage in stages.map(|stage| format!("CPU an event, {stage}")) {
        assert!(names(&figures).contains(&stage.as_str()), "{stage}: {:?}", names(&figures));
    }
}

#[test]
fn a_daemon_with_a_backlog_is_measured_by_itself_also_after_it_was_killed() {
    let figures = figures(&["--backlog", "2000"]);
    let wanted = [
        "2000 pending: on disk, each",
        "2000 pending: ready at the first start behind the filling",
        "2000 pending: the whole way, batches of 100, just opened",
        "2000 pending: the whole way, batches of 100",
        "2000 pending: memory after that work",
        "2000 pending: ready after kill -9",
        "2000 pending: full cycles through the port, just opened",
        "2000 pending: full cycles through the port",
    ];
    for name in wanted {
        assert!(names(&figures).contains(&name), "{name}: {:?}", names(&figures));
    }
}
