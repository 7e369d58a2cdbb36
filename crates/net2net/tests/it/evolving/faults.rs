//! What goes wrong in a life, and what is left of it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::{program, text};
use super::{SPEC, done, evolve, history, home};

#[test]
fn what_goes_wrong_is_said_and_the_champion_stays() {
    let folder = home(SPEC);
    let path = folder.path();
    for words in [&["step", "nowhere"][..], &["history", "nowhere"]] {
        let output = evolve(path, words);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("net2net evolve init nowhere"));
    }
    let output = evolve(path, &["init", "home", "life.toml"]);
    assert!(text(&output.stderr).contains("is the home of a model already"));
    let output = evolve(path, &["export", "home", "-o", "none.onnx"]);
    assert!(text(&output.stderr).contains("no champion yet"));

    // Two at once.
    let locked = fs::File::open(path.join("home/.lock")).unwrap();
    locked.lock().unwrap();
    let output = evolve(path, &["step", "home"]);
    assert!(
        text(&output.stderr).contains("another `net2net evolve` is at work"),
        "{}",
        text(&output.stderr)
    );
    assert!(done(path, &["status", "home"]).contains("no champion yet"));
    drop(locked);
    done(path, &["step", "home"]);

    // A challenger that runs away.
    let settings = fs::read_to_string(path.join("home/spec.toml")).unwrap();
    let wild = settings.replace("learning_rate = 0.05", "learning_rate = 1e9");
    assert_ne!(wild, settings);
    fs::write(path.join("home/spec.toml"), wild).unwrap();
    let output = evolve(path, &["step", "home"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("made no network") && said.contains("diverged"),
        "{said}"
    );
    fs::write(path.join("home/spec.toml"), &settings).unwrap();
    let life = history(path, "home");
    assert_eq!(life["champion"], 1);
    assert_eq!(life["versions"].as_array().unwrap().len(), 1);

    // The champion's file is damaged, and put right; and so is a log that was cut within a letter.
    fs::write(path.join("home/champion.safetensors"), "damaged").unwrap();
    let events = path.join("home/events.jsonl");
    let whole = fs::read(&events).unwrap();
    fs::write(&events, [&whole[..40], b"\xc3"].concat()).unwrap();
    assert!(done(path, &["status", "home"]).contains("puts it right"));

    // What the failed step learnt from is new to the next one.
    done(path, &["step", "home"]);
    assert!(!done(path, &["status", "home"]).contains("puts it right"));
    assert!(fs::read(&events).unwrap().starts_with(&whole));
    let life = history(path, "home");
    assert_eq!(
        life["versions"][1]["record"]["snapshots"],
        serde_json::json!([2, 3])
    );
    assert_eq!(life["versions"][1]["record"]["new_samples"], 320);

    // A trunk is damaged: it is said whose, and another version can go on.
    let trunk = life["versions"][1]["trunk"].as_str().unwrap();
    let file = path.join(format!("home/objects/{}/{trunk}.safetensors", &trunk[..2]));
    fs::write(&file, "damaged").unwrap();
    let output = evolve(path, &["rollback", "home", "2"]);
    let error = text(&output.stderr);
    assert!(
        error.contains("is damaged: it belongs to version 2"),
        "{error}"
    );
    assert_eq!(history(path, "home")["champion"], life["champion"]);
    done(path, &["rollback", "home", "1", "--drop-data"]);
    let output = evolve(path, &["rollback", "home", "7"]);
    assert!(text(&output.stderr).contains("there is no version 7; there are 1 to 2"));
    let life = history(path, "home");
    assert_eq!(life["snapshots"][2]["dropped"], true);

    // Without its settings or its store a home is none, and nothing is made in its place.
    let settings = path.join("home/spec.toml");
    let kept = fs::read(&settings).unwrap();
    fs::remove_file(&settings).unwrap();
    let output = evolve(path, &["init", "home", "life.toml"]);
    assert!(text(&output.stderr).contains("spec.toml is gone"));
    fs::write(&settings, kept).unwrap();
    assert_eq!(history(path, "home")["events"], life["events"]);
    fs::remove_file(path.join("home/store.sqlite")).unwrap();
    let output = evolve(path, &["status", "home"]);
    assert!(text(&output.stderr).contains("store.sqlite is gone"));
}

#[test]
fn a_start_beyond_the_limits_is_refused_before_anything_trains() {
    let folder = home(&(SPEC.to_owned() + "\n[limits]\nparameters = 1000\n"));
    let output = evolve(folder.path(), &["step", "home"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("parameters, and 1000 are the limit"),
        "{error}"
    );
    let life = history(folder.path(), "home");
    assert!(life["steps"].as_array().unwrap().is_empty(), "{life}");
}

#[test]
fn a_trial_that_crashes_leaves_the_champion() {
    let folder = home(SPEC);
    let path = folder.path();
    done(path, &["step", "home"]);
    // A folder where the trial's own would be made is something that it cannot work with.
    let partial = path.join("home/steps/0002/trials");
    fs::create_dir_all(&partial).unwrap();
    for trial in ["probe-0", "release"] {
        fs::write(partial.join(format!("{trial}.partial")), "in the way").unwrap();
    }
    let output = evolve(path, &["step", "home"]);
    let said = text(&output.stderr);
    assert!(said.contains("its trial failed"), "{said}");
    let life = history(path, "home");
    assert_eq!(life["champion"], 1);
}

/// Files of at most so many blocks of 512 bytes stand for a disk that is full.
#[test]
#[cfg(unix)]
fn without_room_it_stops_and_goes_on_when_there_is_some() {
    // A network that takes more room than the images.
    let (wide, _) = SPEC.split_once("[growth]").unwrap();
    let folder = home(&wide.replace("width = 0.25", "width = 2.0"));
    let path = folder.path();
    // Too little for the store, for the images, and for what a trial writes.
    for blocks in [16, 128, 400] {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let output = Command::new("sh")
            .current_dir(path)
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_net2net")])
            .args(["evolve", "step", "home"])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(3),
            "{blocks}: {}",
            text(&output.stderr)
        );
    }
    done(path, &["run", "home", "--until-idle"]);
    assert_eq!(
        history(path, "home")["versions"].as_array().unwrap().len(),
        3
    );
}

/// The hook of a promotion that fails is noted, and one that hangs is ended.
#[test]
#[cfg(unix)]
fn a_hook_that_fails_or_hangs_holds_nothing_up() {
    let hook = "\n[hooks]\npromoted = \"exit 7\"\ntimeout = 0.5\n";
    let folder = home(&(SPEC.to_owned() + hook));
    let path = folder.path();
    let output = evolve(path, &["step", "home"]);
    assert!(output.status.success());
    assert!(
        text(&output.stderr).contains("exit status: 7"),
        "{}",
        text(&output.stderr)
    );
    let settings = path.join("home/spec.toml");
    let hangs = fs::read_to_string(&settings)
        .unwrap()
        .replace("exit 7", "sleep 300 & sleep 300");
    fs::write(&settings, hangs).unwrap();
    let began = std::time::Instant::now();
    let output = evolve(path, &["rollback", "home", "1"]);
    assert!(output.status.success());
    assert!(
        text(&output.stderr).contains("longer than 0.5 s"),
        "{}",
        text(&output.stderr)
    );
    assert!(began.elapsed() < Duration::from_secs(100));
    // A disk that is full under the log is no reason to stop.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let status = program()
        .current_dir(path)
        .args(["evolve", "step", "home"])
        .stdout(Stdio::null())
        .stderr(full)
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
