/* What every supervisor under measurement runs: so small that the supervisor is what is measured.
 *
 *   child wait  FIFO NAME [WORD]          does nothing until it gets a signal
 *   child serve FIFO NAME PORT            answers any HTTP request on 127.0.0.1 with how many it had
 *   child print FIFO NAME BYTES           prints so many bytes in numbered lines of 64, then waits
 *   child crash FIFO NAME LINES           prints so many lines and ends with 1
 *
 * The first thing it does is to write one line into FIFO: NAME PID NANOSECONDS WORD, where the
 * nanoseconds are CLOCK_MONOTONIC as main() begins. `print` writes another when it has printed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 64, LINES_AT_ONCE = 2048 };

static long long nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void announce(const char *fifo, const char *name, const char *word, long long at)
{
    char line[512];
    int length = snprintf(line, sizeof line, "%s %d %lld %s\n", name, getpid(), at, word);
    int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, line, length) != length) /* below PIPE_BUF: whole or not at all */
        exit(111);
    close(fd);
}

static void write_all(const char *data, size_t length)
{
    while (length) {
        ssize_t written = write(1, data, length);
        if (written < 0)
            exit(112);
        data += written;
        length -= written;
    }
}

static void print_lines(long long bytes)
{
    static char block[LINE * LINES_AT_ONCE];
    memset(block, '.', sizeof block);
    long long number = 0;
    while (bytes) {
        size_t length = 0;
        for (int line = 0; line < LINES_AT_ONCE && length < (size_t)bytes; line++) {
            char *digit = block + line * LINE + 12;
            for (long long rest = number++; digit > block + line * LINE; rest /= 10)
                *--digit = '0' + rest % 10;
            block[line * LINE + LINE - 1] = '\n';
            length += LINE;
        }
        if (length > (size_t)bytes)
            length = bytes;
        write_all(block, length);
        bytes -= length;
    }
}

static void serve(int port)
{
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64))
        exit(113);
    for (long long requests = 1;; requests++) {
        char request[4096], body[32], answer[256];
        int connection = accept(listener, NULL, NULL);
        if (connection < 0)
            continue;
        if (read(connection, request, sizeof request) > 0) {
            int length = snprintf(body, sizeof body, "%lld\n", requests);
            int whole = snprintf(answer, sizeof answer,
                                 "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                 "Connection: close\r\nContent-Length: %d\r\n\r\n%s",
                                 length, body);
            if (write(connection, answer, whole) != whole)
                requests--;
        }
        close(connection);
    }
}

int main(int argc, char **argv)
{
    long long begin = nanoseconds();
    if (argc < 4)
        return 2;
    const char *mode = argv[1], *fifo = argv[2], *name = argv[3], *word = argc > 4 ? argv[4] : "-";
    announce(fifo, name, word, begin);
    if (!strcmp(mode, "serve"))
        serve(atoi(word));
    if (!strcmp(mode, "crash")) {
        print_lines(LINE * atoll(word));
        return 1;
    }
    if (!strcmp(mode, "print")) {
        print_lines(atoll(word));
        announce(fifo, name, "printed", nanoseconds());
    }
    for (;;)
        pause();
}
