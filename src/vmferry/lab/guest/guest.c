/*
 * The program of the lab's guest: its init and all that runs in it.
 *
 * It does what a move must not disturb, so that whoever watches can tell:
 *  - fills memory and changes it at a set rate, each page checkable by itself;
 *  - writes numbered, checksummed records to its disk, each with fsync;
 *  - sends a numbered tick every 10 ms to an observer outside.
 * Parameters come on the kernel's command line (vmf.NAME=VALUE), commands as UDP datagrams to port 9998:
 *  "rate N" (MiB/s of memory to change), "records N" (disk records a second), "verify N" (memory and disk, now; N comes
 *  back in the ticks when it is done), "spoil" (damage one page and one record: they must be found).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define WORDS (PAGE / 8)
#define TICK_PORT 9999
#define COMMAND_PORT 9998
#define RECORD_MAGIC 0x564d464552525931ull /* "VMFERRY1" */
#define RECORD_AREA (64ull << 20)          /* the last part of the disk, written round and round */

struct tick {
	uint32_t magic;
	uint32_t vm;
	uint64_t number;
	uint64_t memory_errors;
	uint64_t pages_changed;
	uint64_t records;
	uint64_t disk_errors;
	uint64_t verified; /* the number of the last "verify" that was completed */
} __attribute__((packed));

static volatile uint64_t memory_errors, pages_changed, records, disk_errors, verified;
static volatile int dirty_rate, record_rate, verify_wanted, spoil_wanted;
static uint64_t *memory;
static uint32_t *generation; /* of each page, so that a page that fell back is seen */
static uint64_t pages;
static int disk = -1;
static uint64_t disk_start, slots;
static int vm_number;
static char target[32] = "10.93.0.1";

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33; x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33; x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ (x >> 33);
}

/* Half of a page is noise and half repeats, so that it is neither a hole nor a thing that nothing can compress. */
static void fill_page(uint64_t page)
{
	uint64_t *p = memory + page * WORDS, x = mix(page * 0x9e3779b97f4a7c15ull + generation[page]);
	uint64_t step = x | 1, sum = 0;
	for (int i = 1; i < WORDS; i++) {
		p[i] = i % 2 ? x += step, x : page;
		sum += p[i];
	}
	p[0] = sum ^ x;
}

static int check_page(uint64_t page)
{
	uint64_t *p = memory + page * WORDS, x = mix(page * 0x9e3779b97f4a7c15ull + generation[page]);
	uint64_t step = x | 1, sum = 0;
	for (int i = 1; i < WORDS; i++) {
		if (p[i] != (i % 2 ? (x += step, x) : page))
			return 0;
		sum += p[i];
	}
	return p[0] == (sum ^ x);
}

static void check_record(uint64_t number)
{
	static uint64_t buffer[WORDS] __attribute__((aligned(PAGE)));
	if (pread(disk, buffer, PAGE, disk_start + (number % slots) * PAGE) != PAGE) {
		disk_errors++;
		return;
	}
	uint64_t sum = 0;
	for (int i = 0; i < WORDS - 1; i++)
		sum = mix(sum + buffer[i]);
	if (buffer[0] != RECORD_MAGIC || buffer[1] != number || buffer[WORDS - 1] != sum)
		disk_errors++;
}

static void write_record(uint64_t number)
{
	static uint64_t buffer[WORDS] __attribute__((aligned(PAGE)));
	uint64_t sum = 0;
	buffer[0] = RECORD_MAGIC;
	buffer[1] = number;
	for (int i = 2; i < WORDS - 1; i++)
		buffer[i] = mix(number * WORDS + i);
	for (int i = 0; i < WORDS - 1; i++)
		sum = mix(sum + buffer[i]);
	buffer[WORDS - 1] = sum;
	if (pwrite(disk, buffer, PAGE, disk_start + (number % slots) * PAGE) != PAGE || fdatasync(disk))
		disk_errors++;
}

/* Undone by nothing: shows that what checks the guest would see damage. Called while both threads keep away. */
static void spoil(void)
{
	uint64_t number = records ? records - 1 : 0;
	char byte = 0x55;
	if (pages)
		memory[(pages - 1) * WORDS + 77] ^= 1;
	if (disk >= 0 && slots && records) {
		int raw = open("/dev/vda", O_RDWR | O_SYNC);
		if (pwrite(raw, &byte, 1, disk_start + (number % slots) * PAGE + 1000) != 1)
			disk_errors += 1000;
		close(raw);
	}
}

static void rest(long ns)
{
	struct timespec t = {ns / 1000000000, ns % 1000000000};
	nanosleep(&t, NULL);
}

/* Memory and disk in one thread each; "verify" is taken up between two steps, so that nothing changes meanwhile. */
static void *memory_thread(void *unused)
{
	uint64_t next = 0;
	double owed = 0;
	struct timespec before, now;
	int verify_done = 0;
	(void)unused;
	for (uint64_t i = 0; i < pages; i++)
		fill_page(i);
	printf("memory filled: %llu pages\n", (unsigned long long)pages);
	clock_gettime(CLOCK_MONOTONIC, &before);
	for (;;) {
		if (verify_wanted != verify_done) {
			verify_done = verify_wanted;
			if (spoil_wanted)
				spoil();
			spoil_wanted = 0;
			for (uint64_t i = 0; i < pages; i++)
				if (!check_page(i))
					memory_errors++;
			if (disk >= 0)
				for (uint64_t n = records, k = 0; k < slots && k < n; k++)
					check_record(n - 1 - k);
			verified = verify_done;
			clock_gettime(CLOCK_MONOTONIC, &before);
		}
		rest(5000000);
		clock_gettime(CLOCK_MONOTONIC, &now);
		owed += dirty_rate * 256.0 * ((now.tv_sec - before.tv_sec) + (now.tv_nsec - before.tv_nsec) / 1e9);
		before = now;
		if (owed > 4096)
			owed = 4096; /* never try to make up for a long stop */
		while (pages && owed >= 1) {
			if (!check_page(next))
				memory_errors++;
			generation[next]++;
			fill_page(next);
			pages_changed++;
			next = (next + 1) % pages;
			owed -= 1;
		}
	}
	return NULL;
}

static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;

static void *disk_thread(void *unused)
{
	(void)unused;
	for (;;) {
		if (!record_rate) {
			rest(50000000);
			continue;
		}
		pthread_mutex_lock(&disk_lock);
		if (verify_wanted == (int)verified) {
			write_record(records);
			records++;
		}
		pthread_mutex_unlock(&disk_lock);
		rest(1000000000 / record_rate);
	}
	return NULL;
}

static void *command_thread(void *unused)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(COMMAND_PORT)}, from;
	int s = socket(AF_INET, SOCK_DGRAM, 0), n, value;
	char text[48], answer[64];
	(void)unused;
	bind(s, (void *)&at, sizeof at);
	for (;;) {
		socklen_t size = sizeof from;
		n = recvfrom(s, text, sizeof text - 1, 0, (void *)&from, &size);
		if (n <= 0)
			continue;
		text[n] = 0;
		if (sscanf(text, "rate %d", &value) == 1)
			dirty_rate = value;
		else if (sscanf(text, "records %d", &value) == 1)
			record_rate = value;
		else if (sscanf(text, "verify %d", &value) == 1) {
			pthread_mutex_lock(&disk_lock);
			verify_wanted = value;
			pthread_mutex_unlock(&disk_lock);
		}
		else if (!strcmp(text, "spoil"))
			spoil_wanted = 1; /* by the next "verify" */
		snprintf(answer, sizeof answer, "ok %s", text);
		sendto(s, answer, strlen(answer), 0, (void *)&from, size);
	}
	return NULL;
}

static int module(const char *name)
{
	char path[128];
	snprintf(path, sizeof path, "/modules/%s.ko", name);
	int f = open(path, O_RDONLY);
	if (f < 0)
		return 0; /* built in */
	int failed = syscall(SYS_finit_module, f, "", 0);
	close(f);
	return failed;
}

static long parameter(const char *line, const char *name, long otherwise)
{
	char key[48];
	snprintf(key, sizeof key, "vmf.%s=", name);
	const char *found = strstr(line, key);
	return found ? strtol(found + strlen(key), NULL, 10) : otherwise;
}

static void network(int s)
{
	struct ifreq r = {0};
	struct sockaddr_in *a = (void *)&r.ifr_addr;
	char address[32];
	strcpy(r.ifr_name, "eth0");
	a->sin_family = AF_INET;
	snprintf(address, sizeof address, "10.93.0.%d", 100 + vm_number);
	inet_aton(address, &a->sin_addr);
	ioctl(s, SIOCSIFADDR, &r);
	inet_aton("255.255.255.0", &a->sin_addr);
	ioctl(s, SIOCSIFNETMASK, &r);
	ioctl(s, SIOCGIFFLAGS, &r);
	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	ioctl(s, SIOCSIFFLAGS, &r);
}

int main(void)
{
	static char line[4096];
	static const char *modules[] = {"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev",
					"virtio_pci", "virtio_blk", "failover", "net_failover", "virtio_net"};
	pthread_t thread;

	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	int console = open("/dev/console", O_RDWR);
	for (int i = 0; i < 3; i++)
		dup2(console, i);
	int f = open("/proc/cmdline", O_RDONLY);
	if (f < 0 || read(f, line, sizeof line - 1) < 0)
		return 1;
	for (unsigned i = 0; i < sizeof modules / sizeof *modules; i++)
		if (module(modules[i]))
			printf("module %s: %s\n", modules[i], strerror(errno));
	vm_number = parameter(line, "vm", 1);
	dirty_rate = parameter(line, "rate", 0);
	record_rate = parameter(line, "records", 0);
	pages = parameter(line, "memory", 16) * 256;

	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	generation = calloc(pages + 1, sizeof *generation);
	if (memory == MAP_FAILED || !generation) {
		printf("no memory for %llu pages\n", (unsigned long long)pages);
		pages = 0;
	}
	disk = open("/dev/vda", O_RDWR | O_DIRECT);
	if (disk >= 0) {
		off_t size = lseek(disk, 0, SEEK_END);
		disk_start = size > (off_t)RECORD_AREA ? size - RECORD_AREA : 0;
		slots = (size - disk_start) / PAGE;
		if (slots > 256)
			slots = 256;
	}
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	network(s);
	pthread_create(&thread, NULL, memory_thread, NULL);
	pthread_create(&thread, NULL, command_thread, NULL);
	if (disk >= 0 && slots)
		pthread_create(&thread, NULL, disk_thread, NULL);
	printf("guest %d up\n", vm_number);

	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(TICK_PORT)};
	inet_aton(target, &to.sin_addr);
	struct timespec next;
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (uint64_t number = 1;; number++) {
		struct tick t = {0x5449434b, vm_number, number, memory_errors, pages_changed, records, disk_errors, verified};
		sendto(s, &t, sizeof t, MSG_DONTWAIT, (void *)&to, sizeof to);
		next.tv_nsec += 10000000;
		if (next.tv_nsec >= 1000000000) {
			next.tv_nsec -= 1000000000;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
}
