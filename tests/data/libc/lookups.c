/* Looks names up the way an application does, one after another, and says what came of each.
 *
 *   lookups FILE PACE_US
 *
 * FILE holds one name on a line. Lookup number n starts n * PACE_US after the first, or at once if
 * the one before took longer. Each makes one line on standard output: microseconds, the name, and
 * either the addresses or "error" with the number and the text the C library has for it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* More names or longer ones are refused, so that a wrong file cannot run for ever. */
#define NAMES_MAX 10000
#define NAME_MAX_OCTETS 256
/* No lookup waits longer: two tries of five seconds for each of five candidates. */
#define LOOKUP_SECS_MAX 50

static long long now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void sleep_until(long long due_us)
{
	struct timespec due = { due_us / 1000000, due_us % 1000000 * 1000 };
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) != 0)
		;
}

static void print_address(const struct sockaddr *address)
{
	char text[INET6_ADDRSTRLEN] = "?";
	if (address->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof text);
	else if (address->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof text);
	printf(" %s", text);
}

static void look_up(const char *name)
{
	struct addrinfo hints, *found = NULL, *each;
	long long began_us, took_us;
	int error;

	memset(&hints, 0, sizeof hints);
	hints.ai_family = AF_UNSPEC;
	hints.ai_socktype = SOCK_STREAM;
	alarm(LOOKUP_SECS_MAX);
	began_us = now_us();
	error = getaddrinfo(name, "80", &hints, &found);
	took_us = now_us() - began_us;
	alarm(0);
	printf("%lld %s", took_us, name);
	if (error)
		printf(" error %d %s", error, gai_strerror(error));
	else
		for (each = found; each; each = each->ai_next)
			print_address(each->ai_addr);
	printf("\n");
	if (!error)
		freeaddrinfo(found);
}

int main(int count, char **words)
{
	char name[NAME_MAX_OCTETS];
	long long began_us, pace_us;
	int number;
	FILE *names;

	if (count != 3 || !(names = fopen(words[1], "r"))) {
		fprintf(stderr, "usage: lookups FILE PACE_US\n");
		return 2;
	}
	pace_us = atoll(words[2]);
	began_us = now_us();
	for (number = 0; fgets(name, sizeof name, names); number++) {
		size_t len = strcspn(name, "\n");
		if (number == NAMES_MAX || name[len] != '\n') {
			fprintf(stderr, "line %d: too many names, or one too long\n", number + 1);
			return 1;
		}
		name[len] = '\0';
		sleep_until(began_us + number * pace_us);
		look_up(name);
	}
	fclose(names);
	return 0;
}
