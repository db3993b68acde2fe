//! Ranks that meet on this machine.

use super::*;
use crate::{World, WorldError};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

const LIMIT: Duration = Duration::from_secs(5);

fn free_port() -> u16 {
    let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
    probe.local_addr().expect("bound").port()
}

fn meeting(port: u16, secret: &str) -> Meeting {
    let variable = |name: &str| match name {
        "MASTER_ADDR" => Some("127.0.0.1".to_string()),
        "MASTER_PORT" => Some(port.to_string()),
        "FEWSTEP_SECRET" => Some(secret.to_string()),
        _ => None,
    };
    Meeting::of(&variable).expect("valid").expect("named")
}

/// What becomes of ranks of these numbers and secrets, of `size` each.
fn meet(ranks: &[(usize, usize, &str)], limit: Duration) -> Vec<Result<Sockets, WorldError>> {
    let port = free_port();
    thread::scope(|scope| {
        let started = ranks.iter().map(|&(rank, size, secret)| {
            scope.spawn(move || meeting(port, secret).join(rank, size, limit))
        });
        let started: Vec<_> = started.collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended.map(|end| end.expect("no panic")).collect()
    })
}

fn said(end: &Result<Sockets, WorldError>) -> String {
    match end {
        Ok(_) => "connected".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn ranks_that_meet_are_a_world() {
    let ranks: Vec<_> = (0..4).map(|rank| (rank, 4, "secret")).collect();
    let met = meet(&ranks, LIMIT).into_iter().enumerate();
    thread::scope(|scope| {
        for (rank, sockets) in met {
            let sockets = sockets.expect("all came");
            scope.spawn(move || {
                let world = World::meet(Arc::new(sockets), rank, 4, LIMIT).expect("met");
                let large = vec![rank as u8; 3_000_000];
                let all = world.gather(large.clone()).expect("all are here");
                assert!(
                    all.iter()
                        .enumerate()
                        .all(|(rank, got)| *got == vec![rank as u8; 3_000_000])
                );
                let first = world.broadcast(large).expect("all are here");
                assert!(first == vec![0; 3_000_000]);
                assert_eq!(world.first_at_rank_0(|| rank), Ok(rank));
            });
        }
    });
}

#[test]
fn strangers_are_not_let_in() {
    let ended = meet(
        &[(0, 2, "secret"), (1, 2, "another")],
        Duration::from_secs(2),
    );
    let (root, rank) = (said(&ended[0]), said(&ended[1]));
    assert!(
        root.contains("rank 1 did not come")
            && root.contains("1 that came had another FEWSTEP_SECRET"),
        "{root}"
    );
    assert!(rank.contains("FEWSTEP_SECRET must be the same"), "{rank}");
    assert!(!root.contains("another,") && !rank.contains("`another`"));
    let ended = meet(&[(0, 3, "s"), (1, 3, "s")], Duration::from_secs(1));
    assert!(
        said(&ended[0]).contains("rank 2 did not come"),
        "{}",
        said(&ended[0])
    );
    let ended = meet(&[(0, 3, "s"), (1, 2, "s")], LIMIT);
    assert!(
        said(&ended[0]).contains("rank 1 of 2, and rank 0 is one of 3"),
        "{}",
        said(&ended[0])
    );
    let ended = meet(&[(0, 3, "s"), (1, 3, "s"), (1, 3, "s")], LIMIT);
    assert!(
        said(&ended[0]).contains("two processes say that they are rank 1"),
        "{}",
        said(&ended[0])
    );
}

#[test]
fn other_programs_do_not_disturb_a_meeting() {
    let port = free_port();
    let ended = thread::scope(|scope| {
        let root = scope.spawn(move || meeting(port, "s").join(0, 2, LIMIT));
        // One that talks HTTP, and one that says nothing and leaves.
        let mut link = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(link) => break link,
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        link.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            .expect("sent");
        drop(TcpStream::connect(("127.0.0.1", port)));
        let rank = meeting(port, "s").join(1, 2, LIMIT);
        drop(link);
        (said(&root.join().expect("no panic")), said(&rank))
    });
    assert_eq!(ended, ("connected".into(), "connected".into()));
}

#[test]
fn a_port_in_use_is_said() {
    let taken = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0"));
    let taken = taken.expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let error = said(&meeting(port, "s").join(0, 2, LIMIT));
    assert!(
        error.contains(&format!("port {port}: another program uses it")),
        "{error}"
    );
    // Nobody there: the limit holds.
    let port = free_port();
    let error = said(&meeting(port, "s").join(1, 2, Duration::from_millis(300)));
    assert!(error.contains("did not reach rank 0"), "{error}");
}

#[test]
fn a_rank_that_has_ended_is_noticed_and_one_that_hangs_is_late() {
    let mut met = meet(&[(0, 3, "s"), (1, 3, "s"), (2, 3, "s")], LIMIT);
    let hanging = met.remove(1).expect("met");
    let root = met.remove(0).expect("met");
    let last = met.remove(0).expect("met");
    assert_eq!(root.gone(), None);
    let short = Duration::from_millis(100);
    assert_eq!(root.receive(1, short), Err(Failure::Late));
    // Nobody reads what is sent to it.
    let large = vec![0; 100_000_000];
    assert_eq!(root.send(1, &large, short), Err(Failure::Late));
    drop(last);
    assert_eq!(root.receive(2, LIMIT), Err(Failure::Gone));
    assert_eq!(root.gone(), Some(2));
    drop(hanging);
}

#[test]
fn the_address_comes_from_the_environment() {
    let of = |variables: &[(&str, &str)]| {
        Meeting::of(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        })
    };
    assert!(of(&[]).expect("valid").is_none());
    let here = [("MASTER_ADDR", "localhost"), ("MASTER_PORT", "29500")];
    assert_eq!(of(&here).expect("valid").expect("named").port, 29500);
    // torchrun's own store is at that port.
    let torchrun = [&here[..], &[("TORCHELASTIC_USE_AGENT_STORE", "True")]].concat();
    assert_eq!(of(&torchrun).expect("valid").expect("named").port, 29501);
    let error = of(&[("MASTER_ADDR", "node1"), ("MASTER_PORT", "1")]).expect_err("no secret");
    assert!(error.to_string().contains("FEWSTEP_SECRET"), "{error}");
    for port in ["no", "0", "65536"] {
        let error = of(&[("MASTER_ADDR", "localhost"), ("MASTER_PORT", port)]);
        assert!(error.expect_err(port).to_string().contains("MASTER_PORT"));
    }
}
