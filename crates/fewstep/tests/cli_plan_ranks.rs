//! `fewstep plan --ranks`: what several processes take, without starting any.

mod workspace;

use workspace::{TRAIN, Workspace};

/// The words of the rows of a table with this many ranks first.
fn row(text: &str, ranks: &str) -> Vec<String> {
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().map(String::from).collect());
    let mut rows = rows.filter(|row: &Vec<String>| row.first().is_some_and(|word| word == ranks));
    rows.next()
        .unwrap_or_else(|| panic!("no {ranks} in {text}"))
}

#[test]
fn every_number_of_ranks_has_its_share_of_work_and_of_the_exchange() {
    let workspace = Workspace::new();
    let train = workspace.recipe("train.toml", TRAIN);
    let plan = |more: &[&'static str]| {
        let batch = "network.dropout=0 optim.batch=128 optim.micro_batch=128";
        let sets = batch.split(' ').flat_map(|set| ["--set", set]);
        let words: Vec<&str> = ["plan", &train, "--threads", "1"]
            .into_iter()
            .chain(sets)
            .collect();
        [&words[..], more].concat()
    };
    let told = [
        "--ranks",
        "8",
        "--bandwidth",
        "8kbit/s",
        "--update-seconds",
        "4",
    ];
    let (text, _) = workspace.succeed(&plan(&told));
    // A batch of 128 has four parts: with one thread each takes a quarter of the time.
    assert_eq!(row(&text, "1")[1], "128");
    let four = row(&text, "4");
    assert_eq!(four[1], "32", "{text}");
    assert!(
        text.contains("4.00 s") && four.contains(&"1.00".into()),
        "{text}"
    );
    assert!(text.contains("there are 8 ranks"), "{text}");
    // The slow line leaves nothing of the gain.
    assert!(text.contains("With up to 1 rank,"), "{text}");
    let fast = [
        "--ranks",
        "4",
        "--bandwidth",
        "25GB/s",
        "--update-seconds",
        "4",
    ];
    let (text, _) = workspace.succeed(&plan(&fast));
    assert!(text.contains("With up to 4 ranks,"), "{text}");
    // Updates are timed here where nothing else is said.
    let (text, _) = workspace.succeed(&plan(&["--ranks", "2"]));
    assert!(
        row(&text, "2").last().is_some_and(|word| word == "%"),
        "{text}"
    );
    let elsewhere = plan(&["--ranks", "2", "--gpu-memory", "24GiB"]);
    workspace.refuse(&elsewhere, &["--update-seconds"]);
    workspace.refuse(&plan(&["--ranks", "0"]), &["at least 1"]);
    for (flag, value, part) in [
        ("--bandwidth", "fast", "25GB/s"),
        ("--update-seconds", "0", "above 0"),
        ("--update-seconds", "nan", "above 0"),
    ] {
        workspace.refuse(&plan(&["--ranks", "2", flag, value]), &[part]);
    }
}
