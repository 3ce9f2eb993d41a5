//! The terminal while the live view has it: readings come in, keys are read, and whatever happens
//! the terminal is given back as it was.

use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::time::Duration;

use anyhow::Context as _;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::view::{PAGE, View, Wish};
use super::{Options, fetch};
use crate::admin::hot::HotReading;

/// How long a key may wait for a reading to be looked at, and a reading for a key.
const TICK: Duration = Duration::from_millis(100);

/// What comes from the tasks beside.
enum Message {
    Fetched(Result<HotReading, String>),
    /// A signal asks the program to end.
    End,
}

/// Shows the live view until somebody ends it.
///
/// # Errors
/// The cache cannot be asked the first time, or the terminal refuses.
pub fn run(options: &Options, runtime: &Runtime) -> anyhow::Result<()> {
    // A wrong address is better said where the shell is than on a screen of its own.
    let first = runtime.block_on(fetch::fetch(&options.address))?;
    let mut view = View::new(options.address.clone(), options.sort);
    view.take(Ok(first));
    let (sender, messages) = mpsc::channel();
    runtime.spawn(keep_fetching(options.clone(), sender.clone()));
    runtime.spawn(end_at_signals(sender));
    // It gives the terminal back at a panic as well.
    let shown = ratatui::try_init()
        .context("preparing the terminal")
        .and_then(|mut terminal| show(&mut terminal, &mut view, &messages));
    ratatui::restore();
    shown
}

fn show(
    terminal: &mut DefaultTerminal,
    view: &mut View,
    messages: &Receiver<Message>,
) -> anyhow::Result<()> {
    loop {
        terminal.draw(|frame| view.draw(frame)).context("drawing")?;
        loop {
            if event::poll(TICK).context("reading the keyboard")? {
                match event::read().context("reading the keyboard")? {
                    Event::Key(key) if key.is_press() => match wish(key) {
                        Some(Wish::Quit) => return Ok(()),
                        Some(wish) => view.follow(wish),
                        None => continue,
                    },
                    Event::Resize(..) => {}
                    _ => continue,
                }
                break;
            }
            match messages.try_recv() {
                Ok(Message::Fetched(fetched)) => view.take(fetched),
                Ok(Message::End) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => continue,
            }
            break;
        }
    }
}

/// Without an end: a cache that is away may come back.
async fn keep_fetching(options: Options, sender: Sender<Message>) {
    loop {
        tokio::time::sleep(options.interval).await;
        let fetched = fetch::fetch(&options.address).await.map_err(|error| error.to_string());
        if sender.send(Message::Fetched(fetched)).is_err() {
            return;
        }
    }
}

/// Ctrl-C is a key while the view has the terminal; others may still send signals.
async fn end_at_signals(sender: Sender<Message>) {
    let listening = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = listening else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
    // If the view is gone, so is what there was to end.
    let _ = sender.send(Message::End);
}

fn wish(key: KeyEvent) -> Option<Wish> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c' | 'd') if is_control => Some(Wish::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Wish::Quit),
        KeyCode::Char('s') => Some(Wish::Sort),
        KeyCode::Down | KeyCode::Char('j') => Some(Wish::Scroll(1)),
        KeyCode::Up | KeyCode::Char('k') => Some(Wish::Scroll(-1)),
        KeyCode::PageDown | KeyCode::Char(' ') => Some(Wish::Scroll(PAGE)),
        KeyCode::PageUp => Some(Wish::Scroll(-PAGE)),
        KeyCode::Home => Some(Wish::Top),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_they_mean_elsewhere() {
        let key = |code, modifiers| wish(KeyEvent::new(code, modifiers));
        let plain = |code| key(code, KeyModifiers::NONE);
        assert_eq!(plain(KeyCode::Char('q')), Some(Wish::Quit));
        assert_eq!(plain(KeyCode::Esc), Some(Wish::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Wish::Quit));
        assert_eq!(plain(KeyCode::Char('c')), None);
        assert_eq!(plain(KeyCode::Char('s')), Some(Wish::Sort));
        assert_eq!(plain(KeyCode::Down), Some(Wish::Scroll(1)));
        assert_eq!(plain(KeyCode::PageUp), Some(Wish::Scroll(-PAGE)));
        assert_eq!(plain(KeyCode::Home), Some(Wish::Top));
        assert_eq!(plain(KeyCode::Tab), None);
    }
}
