/* A wire of a given length between two interfaces: every frame that comes in at one end leaves at
 * the other a fixed time later, in order. For kernels without the netem queueing discipline, and
 * for any protocol, since it knows nothing of what it carries.
 *
 *   wire INTERFACE INTERFACE DELAY_US
 *
 * Both are ends of veth pairs in a namespace of the wire's own. Ends when its standard input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The largest segment an interface may be given whole, its header and the kernel's notes. */
#define FRAME_OCTETS_MAX (sizeof(struct virtio_net_hdr) + ETH_HLEN + 65536)
/* Frames on their way in one direction; more are lost, as on a real wire's queue. */
#define FRAMES_MAX 8192

struct frame {
	long long due_ns;
	size_t octets;
	char *data;
};

struct direction {
	int from, to;
	unsigned long taken, left;
	struct frame frames[FRAMES_MAX];
};

static struct direction directions[2];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static long long now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* The header in front of each frame says which checksum is still to be filled in: veth leaves that
 * to the last device, and handing it on unchanged leaves it so. */
static int open_end(const char *interface)
{
	struct sockaddr_ll end;
	int on = 1, fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);

	if (fd < 0)
		fail("socket");
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on))
		fail("PACKET_VNET_HDR");
	memset(&end, 0, sizeof end);
	end.sll_family = AF_PACKET;
	end.sll_protocol = htons(ETH_P_ALL);
	end.sll_ifindex = (int)if_nametoindex(interface);
	if (!end.sll_ifindex || bind(fd, (struct sockaddr *)&end, sizeof end))
		fail(interface);
	return fd;
}

static void take_in(struct direction *direction, long long delay_ns)
{
	static char buffer[FRAME_OCTETS_MAX];
	struct sockaddr_ll source;
	socklen_t source_len = sizeof source;
	struct frame *frame;
	ssize_t octets;

	while ((octets = recvfrom(direction->from, buffer, sizeof buffer, 0,
				  (struct sockaddr *)&source, &source_len)) > 0) {
		/* What this end sends is seen here again. */
		if (source.sll_pkttype == PACKET_OUTGOING)
			continue;
		if (direction->taken - direction->left == FRAMES_MAX)
			continue;
		frame = &direction->frames[direction->taken++ % FRAMES_MAX];
		frame->due_ns = now_ns() + delay_ns;
		frame->octets = (size_t)octets;
		if (!(frame->data = malloc(frame->octets)))
			fail("malloc");
		memcpy(frame->data, buffer, frame->octets);
	}
}

/* Sends what is due; when the next frame will be, or -1 if none is on its way. */
static long long let_out(struct direction *direction)
{
	while (direction->left != direction->taken) {
		struct frame *frame = &direction->frames[direction->left % FRAMES_MAX];
		if (frame->due_ns > now_ns())
			return frame->due_ns;
		/* A frame the interface refuses is a lost frame. */
		if (send(direction->to, frame->data, frame->octets, 0) < 0)
			perror("send");
		free(frame->data);
		direction->left++;
	}
	return -1;
}

int main(int count, char **words)
{
	struct pollfd waits[3];
	long long delay_ns, due_ns[2], next_ns, wait_ns;
	struct timespec timeout;
	int ends[2];

	if (count != 4) {
		fprintf(stderr, "usage: wire INTERFACE INTERFACE DELAY_US\n");
		return 2;
	}
	ends[0] = open_end(words[1]);
	ends[1] = open_end(words[2]);
	delay_ns = atoll(words[3]) * 1000;
	directions[0].from = directions[1].to = ends[0];
	directions[1].from = directions[0].to = ends[1];
	waits[0] = (struct pollfd){ ends[0], POLLIN, 0 };
	waits[1] = (struct pollfd){ ends[1], POLLIN, 0 };
	waits[2] = (struct pollfd){ STDIN_FILENO, POLLIN, 0 };
	for (;;) {
		due_ns[0] = let_out(&directions[0]);
		due_ns[1] = let_out(&directions[1]);
		next_ns = due_ns[0];
		if (next_ns < 0 || (due_ns[1] >= 0 && due_ns[1] < next_ns))
			next_ns = due_ns[1];
		wait_ns = next_ns < 0 ? 1000000000LL : next_ns - now_ns();
		if (wait_ns < 0)
			wait_ns = 0;
		timeout = (struct timespec){ wait_ns / 1000000000LL, wait_ns % 1000000000LL };
		if (ppoll(waits, 3, &timeout, NULL) < 0)
			fail("ppoll");
		if (waits[2].revents)
			return 0;
		take_in(&directions[0], delay_ns);
		take_in(&directions[1], delay_ns);
	}
}
