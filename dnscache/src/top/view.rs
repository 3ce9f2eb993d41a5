//! The live view: what is on the screen, drawn from a state that keys and readings change.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Gauge, Paragraph, Row as TableRow, Table};

use super::rows::{ADVICE, Row, Sort, advice, noise_share, sorted, summary, uptime};
use crate::admin::hot::HotReading;

/// What is shown.
#[derive(Debug)]
pub struct View {
    address: String,
    sort: Sort,
    /// Names above the first that is shown.
    scrolled: usize,
    reading: Option<HotReading>,
    /// Questions per second between the last two readings.
    questions_per_second: Option<f64>,
    /// Why the last reading is not the newest.
    trouble: Option<String>,
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To end.
    Quit,
    /// The next order.
    Sort,
    /// So many names further down, or up.
    Scroll(isize),
    /// Back to the first name.
    Top,
}

/// Names that one press of a page key passes.
pub const PAGE: isize = 20;
/// Lines of advice; the rest is only counted.
const ADVICE_MAX: usize = 5;

impl View {
    /// Nothing is known yet.
    pub fn new(address: String, sort: Sort) -> Self {
        Self {
            address,
            sort,
            scrolled: 0,
            reading: None,
            questions_per_second: None,
            trouble: None,
        }
    }

    /// Shows a new reading, or what kept it from coming beside the old one.
    pub fn take(&mut self, fetched: Result<HotReading, String>) {
        match fetched {
            Ok(reading) => {
                self.questions_per_second =
                    self.reading.as_ref().and_then(|before| rate_between(before, &reading));
                self.reading = Some(reading);
                self.trouble = None;
                self.scroll(0);
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// Does as a key asks, except to end.
    pub fn follow(&mut self, wish: Wish) {
        match wish {
            Wish::Quit => {}
            Wish::Sort => self.sort = self.sort.next(),
            Wish::Scroll(names) => self.scroll(names),
            Wish::Top => self.scrolled = 0,
        }
    }

    fn scroll(&mut self, names: isize) {
        let known = self.reading.as_ref().map_or(0, |reading| reading.names.len());
        self.scrolled = self.scrolled.saturating_add_signed(names).min(known.saturating_sub(1));
    }

    /// Draws everything.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let whole =
            Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]);
        let [head, body, foot] = whole.areas(frame.area());
        frame.render_widget(Line::styled(self.title(), bold()), head);
        match &self.reading {
            Some(reading) => self.draw_reading(frame, body, reading),
            None => frame.render_widget(Paragraph::new("waiting for the first reading"), body),
        }
        frame.render_widget(self.foot(), foot);
    }

    fn title(&self) -> String {
        let mut title = format!("dnscache at {}", self.address);
        if let Some(reading) = &self.reading {
            title.push_str(&format!(", up {}", uptime(reading.uptime_secs)));
        }
        if let Some(rate) = self.questions_per_second {
            title.push_str(&format!(", {rate:.0} questions per second"));
        }
        title
    }

    fn draw_reading(&self, frame: &mut Frame<'_>, area: Rect, reading: &HotReading) {
        let names = sorted(reading, self.sort);
        let gaining = advice(&names);
        let advice_height = if gaining.is_empty() { 0 } else { gaining.len().min(ADVICE_MAX) + 1 };
        let [noise, numbers, table, advice_area] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(3),
            Constraint::Min(3),
            Constraint::Length(advice_height as u16),
        ])
        .areas(area);
        let [noise_line, saved, fresh] = summary(reading);
        let gauge = Gauge::default().ratio(noise_share(reading)).label(noise_line);
        frame.render_widget(gauge.gauge_style(Style::new().fg(Color::Yellow)), noise);
        frame.render_widget(Paragraph::new(vec![Line::raw(saved), Line::raw(fresh)]), numbers);
        let shown = names.iter().skip(self.scrolled).take(table.height.into());
        frame.render_widget(table_of(shown.map(|name| Row::of(name))), table);
        frame.render_widget(advice_on(&gaining), advice_area);
    }

    fn foot(&self) -> Line<'_> {
        match &self.trouble {
            Some(trouble) => Line::styled(trouble.as_str(), Style::new().fg(Color::Red)),
            None => {
                Line::raw(format!("by {}   q quit   s order   arrows scroll", self.sort.label()))
            }
        }
    }
}

/// `None` if the cache was started anew in between.
fn rate_between(before: &HotReading, after: &HotReading) -> Option<f64> {
    let secs = after.uptime_secs - before.uptime_secs;
    let questions = after.questions.checked_sub(before.questions)?;
    (secs > 0.0).then(|| questions as f64 / secs)
}

fn table_of(rows: impl Iterator<Item = Row>) -> Table<'static> {
    let widths = [
        Constraint::Length(9),
        Constraint::Length(11),
        Constraint::Length(12),
        Constraint::Fill(1),
        Constraint::Fill(1),
    ];
    let header = cells(Row::headings()).style(Style::new().add_modifier(Modifier::REVERSED));
    Table::new(rows.map(cells), widths).header(header)
}

fn cells(row: Row) -> TableRow<'static> {
    let Row { per_second, saved, types, name, ways } = row;
    let (per_second, saved) =
        (Line::raw(per_second).right_aligned(), Line::raw(saved).right_aligned());
    TableRow::new([per_second, saved, Line::raw(types), Line::raw(name), Line::raw(ways)])
}

fn advice_on(names: &[&str]) -> Paragraph<'static> {
    let shown = names.len().min(ADVICE_MAX);
    let mut lines: Vec<Line<'static>> =
        names[..shown].iter().map(|name| Line::raw(format!("`{name}`"))).collect();
    if shown < names.len()
        && let Some(last) = lines.last_mut()
    {
        *last =
            Line::raw(format!("and {} more names with a dot behind them", names.len() - shown + 1));
    }
    Paragraph::new(lines).block(Block::new().borders(Borders::TOP).title(ADVICE))
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::rows::tests::reading;

    fn screen(view: &View, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| view.draw(frame)).expect("a drawing");
        let cells = terminal.backend().buffer().content();
        let line = |cells: &[ratatui::buffer::Cell]| {
            let text: String = cells.iter().map(|cell| cell.symbol()).collect();
            text.trim_end().to_owned()
        };
        cells.chunks(width.into()).map(line).collect()
    }

    fn view() -> View {
        let mut view = View::new("127.0.0.1:9253".to_owned(), Sort::Rate);
        view.take(Ok(reading()));
        view
    }

    fn first_name(view: &View) -> String {
        screen(view, 120, 20)[6].split_whitespace().nth(4).expect("a name").to_owned()
    }

    #[test]
    fn a_reading_fills_the_screen() {
        let lines = screen(&view(), 120, 16);
        assert_eq!(lines[0], "dnscache at 127.0.0.1:9253, up 1h02m");
        assert!(lines[1].contains("search noise  2,500 of 10,000 questions (25.0%)"), "{lines:#?}");
        assert!(lines[2].starts_with("saved         90,000 questions more"));
        assert!(lines[3].starts_with("kept fresh    3 names"));
        let words: Vec<_> = lines[5].split_whitespace().collect();
        assert_eq!(words, ["per", "s", "saved", "types", "name", "asked", "under"]);
        let words: Vec<_> = lines[6].split_whitespace().collect();
        assert_eq!(
            words[..6],
            ["12.3", "86,400", "A", "AAAA", "amazon.com.", "default.svc.cluster.local."]
        );
        assert!(lines[7].contains("api.payments.svc.cluster.local."));
        assert!(lines[13].starts_with(ADVICE), "{lines:#?}");
        assert_eq!(lines[14], "`amazon.com.`");
        assert_eq!(lines[15], "by rate   q quit   s order   arrows scroll");
    }

    #[test]
    fn before_the_first_reading_it_says_so() {
        let view = View::new("x:1".to_owned(), Sort::Rate);
        assert_eq!(screen(&view, 60, 4)[1], "waiting for the first reading");
    }

    #[test]
    fn trouble_stands_below_the_last_reading_until_the_next() {
        let mut view = view();
        view.take(Err("x:1 did not answer within 5 s".to_owned()));
        let lines = screen(&view, 120, 16);
        assert_eq!(lines[15], "x:1 did not answer within 5 s");
        assert!(lines[6].contains("amazon.com."));
        view.take(Ok(reading()));
        assert!(screen(&view, 120, 16)[15].starts_with("by rate"));
    }

    #[test]
    fn questions_per_second_are_those_between_two_readings() {
        let mut view = view();
        let mut later = reading();
        later.uptime_secs += 2.0;
        later.questions += 500;
        view.take(Ok(later));
        assert!(screen(&view, 120, 16)[0].ends_with(", 250 questions per second"));
        // Started anew: fewer questions than before.
        view.take(Ok(HotReading { uptime_secs: 1.0, ..HotReading::default() }));
        assert!(screen(&view, 120, 16)[0].ends_with("up 1s"));
    }

    #[test]
    fn keys_change_order_and_place() {
        let mut view = view();
        assert_eq!(first_name(&view), "amazon.com.");
        view.follow(Wish::Scroll(1));
        assert_eq!(first_name(&view), "api.payments.svc.cluster.local.");
        view.follow(Wish::Scroll(PAGE));
        assert_eq!(first_name(&view), "plain.example.");
        view.follow(Wish::Scroll(-PAGE));
        assert_eq!(first_name(&view), "amazon.com.");
        view.follow(Wish::Sort);
        view.follow(Wish::Sort);
        view.follow(Wish::Scroll(1));
        assert_eq!(first_name(&view), "plain.example.");
        view.follow(Wish::Top);
        assert_eq!(first_name(&view), "amazon.com.");
    }

    #[test]
    fn a_shorter_list_is_not_scrolled_past() {
        let mut view = view();
        view.follow(Wish::Scroll(2));
        let mut shorter = reading();
        shorter.names.truncate(1);
        view.take(Ok(shorter));
        assert_eq!(first_name(&view), "amazon.com.");
    }

    #[test]
    fn advice_beyond_its_place_is_counted() {
        let mut many = reading();
        many.names = vec![many.names[0].clone(); 9];
        let mut view = view();
        view.take(Ok(many));
        let lines = screen(&view, 120, 24);
        assert_eq!(lines[22], "and 5 more names with a dot behind them", "{lines:#?}");
    }

    #[test]
    fn any_size_can_be_drawn() {
        for (width, height) in [(1, 1), (10, 3), (20, 6), (400, 5), (3, 100)] {
            assert_eq!(screen(&view(), width, height).len(), usize::from(height));
        }
    }
}
