//! Which arguments are secrets: neither `MONITOR` nor `SLOWLOG` shows them.

use super::command::Command;
use orchard_wire::resp::Args;

/// What stands in a secret's place, as in Redis.
pub(super) const REDACTED: &str = "(redacted)";

/// Whether the argument at `place` is a secret.
pub(super) fn is_secret(command: &Command, args: Args<'_>, place: usize) -> bool {
    let is_behind = |words: &[&str], distance: usize| {
        let at = place.checked_sub(distance).filter(|at| *at > 0);
        let word = at.and_then(|at| args.get(at));
        word.is_some_and(|word| words.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes())))
    };
    match command.name {
        "auth" => place > 0,
        "hello" => is_behind(&["auth"], 1) || is_behind(&["auth"], 2),
        "config|set" => is_behind(&["requirepass", "masterauth"], 1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::command;
    use orchard_wire::resp::OwnedArgs;

    #[test]
    fn names_and_passwords_are_secrets_and_nothing_else_is() {
        for (request, secrets) in [
            ("AUTH hunter2", vec![1]),
            ("AUTH ada hunter2", vec![1, 2]),
            ("HELLO 3", vec![]),
            ("HELLO 3 AUTH ada hunter2 SETNAME joe", vec![3, 4]),
            ("HELLO 3 SETNAME joe auth ada hunter2", vec![5, 6]),
            ("CONFIG SET requirepass hunter2 timeout 1", vec![3]),
            ("SET auth hunter2", vec![]),
        ] {
            let args = OwnedArgs::new(request.split(' ').map(str::as_bytes));
            let command = command::resolve(args.args()).expect("a command");
            let found: Vec<_> =
                (0..args.args().len()).filter(|place| is_secret(command, args.args(), *place)).collect();
            assert_eq!(found, secrets, "{request}");
        }
    }
}
