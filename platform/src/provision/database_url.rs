//! The URL of a role on a database, made from the administrator's: same server, same options.

use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;

/// Parameters of the administrator's URL that are about the administrator.
const PERSONAL: [&str; 4] = ["user", "password", "dbname", "application_name"];

/// The URL of `role` on `database` at the server that `admin_url` names; `None` if that cannot be
/// read. Role, password and database need no escaping.
pub(super) fn database_url(admin_url: &str, role: &str, password: &str, database: &str) -> Option<String> {
    let options = PgConnectOptions::from_str(admin_url).ok()?;
    let rest = ["postgres://", "postgresql://"].into_iter().find_map(|scheme| admin_url.strip_prefix(scheme))?;
    let rest = rest.split('#').next().unwrap_or_default();
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let server = authority.rsplit('@').next().unwrap_or_default();
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            !name.is_empty() && !PERSONAL.contains(&name)
        })
        .map(str::to_owned)
        .collect();
    let mut server = server.to_owned();
    if server.is_empty() {
        // A URL with a user needs a host; the parameter `host` wins over it.
        server = format!("localhost:{}", options.get_port());
        let names_host = parameters.iter().any(|parameter| parameter.starts_with("host="));
        if let (Some(socket), false) = (options.get_socket(), names_host) {
            parameters.push(format!("host={}", socket.display()));
        }
    }
    let mut url = format!("postgres://{role}:{password}@{server}/{database}");
    if !parameters.is_empty() {
        url.push('?');
        url.push_str(&parameters.join("&"));
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::database_url;
    use sqlx::postgres::PgConnectOptions;
    use std::path::Path;
    use std::str::FromStr;

    fn url(admin_url: &str) -> String {
        database_url(admin_url, "r", "p", "d").unwrap()
    }

    #[test]
    fn the_server_and_its_options_are_kept() {
        assert_eq!(url("postgres://u:x@h:1/postgres"), "postgres://r:p@h:1/d");
        assert_eq!(url("postgresql://h"), "postgres://r:p@h/d");
        assert_eq!(
            url("postgres://u:a%40b@h/x?sslmode=require&user=y&password=z"),
            "postgres://r:p@h/d?sslmode=require"
        );
        assert_eq!(url("postgres://u@%2Ftmp%2Fpg:7/x"), "postgres://r:p@%2Ftmp%2Fpg:7/d");
    }

    #[test]
    fn a_socket_stays_a_socket() {
        let made = url("postgres:///postgres?host=/tmp/pg&port=7610&user=postgres");
        let options = PgConnectOptions::from_str(&made).unwrap();
        assert_eq!(options.get_socket().map(AsRef::as_ref), Some(Path::new("/tmp/pg")));
        assert_eq!(options.get_port(), 7610);
        assert_eq!(options.get_username(), "r");
        assert_eq!(options.get_database(), Some("d"));
    }

    #[test]
    fn what_is_no_url_of_postgresql_is_refused() {
        for bad in ["", "mysql://h/d", "host=/tmp", "postgres://h:x/d"] {
            assert!(database_url(bad, "r", "p", "d").is_none(), "{bad}");
        }
    }
}
