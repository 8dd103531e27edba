use super::*;
use std::io::Write as _;

fn resolve(file: Option<&str>, environment: &[(&str, &str)], flags: ServerFlags) -> Result<Settings> {
    let mut written = tempfile::NamedTempFile::new().expect("a file");
    written.write_all(file.unwrap_or_default().as_bytes()).expect("written");
    let flags = ServerFlags { config: Some(written.path().to_owned()), ..flags };
    Settings::resolve(&flags, &|variable| {
        Ok(environment.iter().find(|(name, _)| *name == variable).map(|(_, text)| (*text).to_owned()))
    })
}

#[test]
fn the_nearer_place_wins() {
    let file =
        "listen = \"127.0.0.1:1\"\ndurability = \"os\"\nlog_level = \"warn\"\nmemory_limit = 1048576\n";
    let environment = [("ORCHARD_LISTEN", "127.0.0.1:2"), ("ORCHARD_DURABILITY", "none")];
    let flags = ServerFlags { listen: Some("127.0.0.1:3".to_owned()), ..ServerFlags::default() };
    let settings = resolve(Some(file), &environment, flags).expect("fine");
    assert_eq!(settings.listen.port(), 3);
    assert_eq!(settings.durability, Durability::None);
    assert_eq!(settings.log_level, LevelFilter::WARN);
    assert_eq!(settings.memory_limit_bytes, Some(1 << 20));
    assert_eq!(settings.history_retention_ms, 0);
    assert_eq!((settings.log_retention_ms, settings.log_retention_bytes), (3_600_000, 64 << 20));
    assert_eq!(settings.data, Some(PathBuf::from("./orchard-data")));
    let shown = settings.show();
    for line in ["listen = \"127.0.0.1:3\"  # --listen", "durability = \"none\"  # ORCHARD_DURABILITY"] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(
        shown.contains(":3\n") || shown.contains(".toml:3") || shown.contains("log_level = \"warn\"  # "),
        "{shown}"
    );
}

#[test]
fn expiry_is_a_table_or_a_text() {
    let table = "[expiry]\n\"sessions/\" = \"30m\"\n'[\"users\", 1]' = \"7d\"\n";
    let from_table = resolve(Some(table), &[], ServerFlags::default()).expect("fine");
    let text = [("ORCHARD_EXPIRY", "sessions/=30m; [\"users\", 1]=7d")];
    let from_text = resolve(None, &text, ServerFlags::default()).expect("fine");
    assert_eq!(from_table.default_expiry, from_text.default_expiry);
    assert_ne!(from_text.default_expiry, DefaultExpiry::default());
    assert!(
        from_table.show().contains("expiry = \"[\\\"users\\\", 1]=7d; sessions/=30m\"  # "),
        "{}",
        from_table.show()
    );
    for (file, part) in [
        ("[expiry]\n\"a\" = \"1\"", ":1: expiry: a=1: "),
        ("[expiry]\n\"a\" = 1", ":2: expiry: a takes a duration"),
        ("expiry = 5", ":1: expiry takes a table"),
        ("expiry = \"sessions/\"", "not a rule"),
        ("expiry = \"[1=5m\"", "no JSON"),
        ("expiry = \"a=0s\"", "expires at once"),
    ] {
        let error = resolve(Some(file), &[], ServerFlags::default()).expect_err(file);
        assert!(error.exit == Exit::Config && error.message.contains(part), "{file}: {}", error.message);
    }
}

#[test]
fn mistakes_name_their_place() {
    let flag = |listen: &str| ServerFlags { listen: Some(listen.to_owned()), ..ServerFlags::default() };
    let wrong_file = |file: &str| resolve(Some(file), &[], ServerFlags::default()).expect_err(file);
    for (error, exit, parts) in [
        (
            wrong_file("\n# a\nmemroy_limit = \"1GiB\""),
            Exit::Config,
            [":3: unknown key `memroy_limit`", "`memory_limit`"],
        ),
        (wrong_file("zzzzzzzzzzzzzz = 1"), Exit::Config, [":1: unknown key", "there are data, memory"]),
        (wrong_file("[server]\nlisten = \"127.0.0.1:1\""), Exit::Config, [":1: ", "unknown key `server`"]),
        (wrong_file("data = \"a\"\nlisten = 4206"), Exit::Config, [":2: ", "takes a text in quotes"]),
        (wrong_file("data = \"a\"\n\nmemory = \"yes\""), Exit::Config, [":3: ", "true or false"]),
        (
            wrong_file("data = \"a\"\nlisten = \"x\""),
            Exit::Config,
            [":2: ", "listen is \"x\", not an address"],
        ),
        (wrong_file("data = \"a\"\ndata = \"b\""), Exit::Config, [":2: ", "duplicate key"]),
        (wrong_file("history_retention = \"10\""), Exit::Config, [":1: ", "not a duration, as 10m"]),
        (
            wrong_file("memory_limit = \"1KiB\""),
            Exit::Config,
            [":1: memory_limit is \"1KiB\"", "at least 1MiB"],
        ),
        (wrong_file("data = \"a\"\nlisten"), Exit::Config, [":2: ", ""]),
        (wrong_file("data = \"a\"\nmemory = true"), Exit::Config, [":2: `data` is set too", ""]),
        (
            resolve(None, &[("ORCHARD_LOG_LEVEL", "loud")], ServerFlags::default()).expect_err("level"),
            Exit::Config,
            ["ORCHARD_LOG_LEVEL: log_level is \"loud\"", "trace"],
        ),
        (
            resolve(None, &[], flag("4206")).expect_err("flag"),
            Exit::Usage,
            ["--listen: listen is \"4206\"", ""],
        ),
    ] {
        assert_eq!(error.exit, exit, "{error}");
        for part in parts {
            assert!(error.message.contains(part), "{error} lacks {part}");
        }
    }
}

#[test]
fn of_two_that_exclude_each_other_the_nearer_wins() {
    let memory = ServerFlags { memory: true, ..ServerFlags::default() };
    assert_eq!(resolve(Some("data = \"a\""), &[], memory).expect("fine").data, None);
    let data = ServerFlags { data: Some("b".to_owned()), ..ServerFlags::default() };
    let settings = resolve(None, &[("ORCHARD_MEMORY", "true")], data).expect("fine");
    assert_eq!(settings.data, Some(PathBuf::from("b")));
}

#[test]
fn a_token_is_read_and_never_shown() {
    let settings =
        resolve(None, &[("ORCHARD_ACCESS_TOKEN", "s3cret")], ServerFlags::default()).expect("fine");
    assert!(settings.access_token.as_ref().is_some_and(|token| token.matches(b"s3cret")));
    assert!(
        !settings.show().contains("s3cret") && !format!("{:?}", settings.access_token).contains("s3cret")
    );

    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"from-file\n").expect("written");
    let path = file.path().to_str().expect("UTF-8").to_owned();
    let flags = ServerFlags { access_token_file: Some(path.clone()), ..ServerFlags::default() };
    let settings = resolve(None, &[("ORCHARD_ACCESS_TOKEN", "s3cret")], flags).expect("fine");
    assert!(settings.access_token.is_some_and(|token| token.matches(b"from-file")));

    let both = [("ORCHARD_ACCESS_TOKEN", "a"), ("ORCHARD_ACCESS_TOKEN_FILE", path.as_str())];
    assert_eq!(resolve(None, &both, ServerFlags::default()).expect_err("both").exit, Exit::Config);
    let missing = ServerFlags { access_token_file: Some("/nowhere".to_owned()), ..ServerFlags::default() };
    assert_eq!(resolve(None, &[], missing).expect_err("missing").exit, Exit::Config);
}

#[test]
fn the_default_file_says_what_is_the_case_without_one() {
    let with_file =
        resolve(Some(&default_file()), &[], ServerFlags::default()).expect("the default file is valid");
    let without = resolve(None, &[], ServerFlags::default()).expect("fine");
    let plain = |settings: &Settings| {
        let shown = settings.show();
        shown.lines().map(|line| line.split("  #").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(plain(&with_file), plain(&without));
}

#[test]
fn every_flag_has_its_setting() {
    use clap::CommandFactory as _;
    let serve = crate::args::Cli::command();
    let serve = serve.find_subcommand("serve").expect("serve").clone();
    for setting in &SETTINGS {
        let flag = setting.name.replace('_', "-");
        let has = serve.get_arguments().any(|argument| argument.get_long() == Some(flag.as_str()));
        assert_eq!(has, setting.flag, "{flag}");
    }
}
