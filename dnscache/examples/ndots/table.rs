//! The result, for people.

use super::experiment::Row;
use super::names;

/// Prints the table and how to read it.
pub fn print(rows: &[Row]) {
    println!("One lookup (A and AAAA) of an external name by a pod: four search domains, ndots:5;");
    println!(
        "{} names, one after the other, {} ms to upstream and back. Means; the time is the median.\n",
        names::external().len(),
        names::LATENCY.as_millis()
    );
    println!(
        "{:<14} {:<16} {:>19} {:>19} {:>10} {:>7}",
        "", "", "questions by client", "questions upstream", "time", "wrong"
    );
    for (at, row) in rows.iter().enumerate() {
        let is_first = at == 0 || rows[at - 1].title != row.title;
        println!(
            "{:<14} {:<16} {:>19.2} {:>19.2} {:>7.0} us {:>7}",
            if is_first { row.title } else { "" },
            row.pass,
            row.by_client,
            row.upstream,
            row.time_us,
            row.wrong.len()
        );
    }
    println!("{EXPLANATION}");
}

const EXPLANATION: &str = "
no cache       Every lookup walks the search list to its end: four names that are not there, then
               the one that is, each for A and AAAA.
plain cache    As many questions, answered on the node while it knows; what the cluster denied
               is forgotten after 5 s and goes upstream again: three names, A and AAAA.
with the dot   What an application saves that writes `name.` with a dot: no search.
search paths   The same without the dot: once the cache knows that nothing is in the way, the
               first question of the walk is answered with the name that exists. One denial of
               `com.default.svc.cluster.local` stands for every `*.com` of that namespace,
               and what is asked often is renewed before it expires.

Every lookup was compared with what upstream itself says; `wrong` counts those that differ.";
