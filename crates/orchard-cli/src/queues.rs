//! `orchard queue ..`: messages in and out of queues, a line each.

use crate::args::{Client, EnqueueArgs, QueueAction};
use crate::error::{CliError, Result, stdout};
use crate::target::Target;
use crate::{files, keys};
use orchard_client::{ClientQueue, Enqueue};
use orchard_wire::{duration, queue_json};
use orcharddb::queue::{Delivery, MessageId, Ready};
use orcharddb::{DurationMs, Value, limits};
use std::io::{self, Write as _};

/// Runs the action. `false`: there was no message, or one of the ids named none.
///
/// # Errors
/// What went wrong.
pub fn run(action: QueueAction) -> Result<bool> {
    use QueueAction as Action;
    match action {
        Action::List(Client { target, args }) => on(&target, |target| {
            let names = target.wait(target.client().queues(args.after.as_deref(), args.limit))?;
            names.iter().try_for_each(|name| line(name))?;
            Ok(true)
        }),
        Action::Enqueue(Client { target, args }) => on_queue(&target, &args.queue, |target, queue| {
            let committed = target.wait(queue.enqueue(message(&args)?))?;
            line(&committed.versionstamp.to_string())?;
            Ok(true)
        }),
        Action::Lease(Client { target, args }) => on_queue(&target, &args.queue, |target, queue| {
            let (visibility, wait) = (time("--visibility", &args.visibility)?, time("--wait", &args.wait)?);
            show(&target.wait(queue.lease(args.max, visibility, wait))?, "leased_until")
        }),
        Action::Peek(Client { target, args }) => on_queue(&target, &args.queue, |target, queue| {
            show(&target.wait(queue.peek(args.limit))?, "ready_at")
        }),
        Action::Ack(Client { target, args }) => {
            on_queue(&target, &args.queue, |target, queue| done(target.wait(queue.ack(&ids(&args.ids)?))?))
        }
        Action::Nack(Client { target, args }) => on_queue(&target, &args.queue, |target, queue| {
            let delay = args.delay.as_deref().map(|text| time("--delay", text)).transpose()?;
            done(target.wait(queue.nack(&ids(&args.ids)?, delay))?)
        }),
        Action::Stats(Client { target, args }) => on_queue(&target, &args.queue, |target, queue| {
            let stats = queue_json::render_stats(target.wait(queue.stats())?);
            line(&String::from_utf8_lossy(&stats))?;
            Ok(true)
        }),
        Action::Dead(Client { target, args }) => on_queue(&target, &args.queue, |target, queue| {
            let after = args.after.as_deref().map(id).transpose()?;
            let letters = target.wait(queue.dead(after, args.limit))?;
            for letter in &letters {
                let reply = queue_json::render_dead(std::slice::from_ref(letter));
                line(&only(&reply))?;
            }
            Ok(!letters.is_empty())
        }),
        Action::Requeue(Client { target, args }) => on_queue(&target, &args.queue, |target, queue| {
            done(target.wait(queue.requeue(&ids(&args.ids)?))?)
        }),
        Action::Purge(Client { target, args }) => {
            on_queue(&target, &args.queue, |target, queue| done(target.wait(queue.purge(&ids(&args.ids)?))?))
        }
        Action::Clear(Client { target, args }) => on_queue(&target, &args.queue, |target, queue| {
            target.wait(queue.clear())?;
            Ok(true)
        }),
    }
}

fn on(flags: &crate::args::TargetFlags, run: impl FnOnce(&Target) -> Result<bool>) -> Result<bool> {
    let target = Target::open(flags, true)?;
    let found = run(&target)?;
    target.close()?;
    Ok(found)
}

fn on_queue(
    flags: &crate::args::TargetFlags,
    name: &str,
    run: impl FnOnce(&Target, &ClientQueue) -> Result<bool>,
) -> Result<bool> {
    on(flags, |target| {
        let queue = target.client().queue(name)?;
        run(target, &queue)
    })
}

fn line(text: &str) -> Result<()> {
    writeln!(io::stdout(), "{text}").map_err(stdout)
}

fn time(flag: &str, text: &str) -> Result<DurationMs> {
    duration::parse(text).map_err(|error| CliError::usage(format!("{flag}: {error}")))
}

fn id(text: &str) -> Result<MessageId> {
    text.parse().map_err(|error| CliError::usage(format!("{text}: {error}")))
}

fn ids(texts: &[String]) -> Result<Vec<MessageId>> {
    texts.iter().map(|text| id(text)).collect()
}

fn message(args: &EnqueueArgs) -> Result<Enqueue> {
    let payload: Value = match args.value.as_str() {
        "-" => {
            let read = files::read_stdin(limits::QUEUE_PAYLOAD_SIZE_BYTES_MAX);
            keys::value(&read.map_err(CliError::io("standard input"))?, args.value_type)?
        }
        text => keys::value(text.as_bytes(), args.value_type)?,
    };
    let backoff = args.backoff.as_deref().map(|steps| {
        let steps = steps.split(',').map(str::trim).filter(|step| !step.is_empty());
        steps.map(|step| time("--backoff", step)).collect::<Result<Vec<_>>>()
    });
    Ok(Enqueue {
        queue: args.queue.clone(),
        payload,
        ready: match &args.delay {
            Some(delay) => Ready::After(time("--delay", delay)?),
            None => Ready::Now,
        },
        backoff: backoff.transpose()?,
        keys_if_undelivered: args
            .key_if_undelivered
            .iter()
            .map(|key| keys::parse(key))
            .collect::<Result<_>>()?,
    })
}

/// The one item of a reply such as `{"messages":[..]}`.
fn only(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    let item = text.split_once('[').and_then(|(_, rest)| rest.strip_suffix("]}"));
    item.unwrap_or_default().to_owned()
}

fn show(messages: &[Delivery], until: &str) -> Result<bool> {
    for message in messages {
        line(&only(&queue_json::render_messages(std::slice::from_ref(message), until)))?;
    }
    Ok(!messages.is_empty())
}

fn done(done: Vec<bool>) -> Result<bool> {
    for done in &done {
        line(if *done { "done" } else { "gone" })?;
    }
    Ok(done.into_iter().all(|done| done))
}
