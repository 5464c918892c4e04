"""A prefork server of perl or ruby under load: workers forked from one loaded parent, and reloaded.

The server answers each line with a digest of a table loaded before the fork, changed by requests in
the worker only.  Every answer is checked; a reload replaces all workers while clients go on.
"""
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

SERVERS = {"perl": ("perl", r"""
use IO::Socket::UNIX; use POSIX ":sys_wait_h"; $| = 1; $SIG{PIPE} = 'IGNORE';
my %table = map { ($_ => "value $_ " . "x" x ($_ % 300)) } 0 .. 9999;
my $s = IO::Socket::UNIX->new(Local => "sock", Listen => 128) or die; my $reload = 0; my $stop = 0;
my %kids; sub start { my $p = fork // die "fork: $!"; if (!$p) { $SIG{HUP} = $SIG{TERM} = 'DEFAULT'; serve() ; exit 0 } $kids{$p} = 1 }
sub serve { my $stopping = 0; $SIG{QUIT} = sub { $stopping = 1 }; my %mine;
  while (!$stopping) { my $c = $s->accept or next; while (my $l = <$c>) { chomp $l; my $n = $l % 10000; $mine{$n}++; my $old = $table{$n}; $table{$n} = "changed" x 50; print $c "$old\n"; $c->flush; $table{$n} = $old; push @junk, "j" x $n; shift @junk if @junk > 200; } } }
$SIG{HUP} = sub { $reload = 1 }; $SIG{TERM} = sub { $stop = 1 };
start() for 1 .. 4; open my $f, ">", "ready"; close $f;
while (!$stop) { my $p = waitpid -1, WNOHANG; if ($p > 0) { delete $kids{$p}; start() unless $stop; }
  if ($reload) { $reload = 0; $table{reloaded} = 1; kill QUIT => keys %kids; open my $g, ">>", "reloads"; print $g "x"; close $g; } select undef, undef, undef, 0.01 if $p <= 0 }
kill KILL => keys %kids; 1 while waitpid(-1, 0) > 0; print "stopped\n";
"""), "ruby": ("ruby", r"""
require 'socket'; $stdout.sync = true
table = (0..9999).to_h { |n| [n, "value #{n} " + "x" * (n % 300)] }
server = UNIXServer.new("sock"); reload = stop = false; kids = {}
serve = lambda do
  stopping = false; trap("QUIT") { stopping = true }; trap("HUP", "DEFAULT"); trap("TERM", "DEFAULT"); junk = []
  until stopping
    ready = IO.select([server], nil, nil, 0.05) or next
    c = server.accept_nonblock(exception: false); next if c == :wait_readable
    begin; while (l = c.gets); n = l.to_i % 10000; old = table[n]; table[n] = "changed" * 50; c.puts old; table[n] = old; junk << "j" * n; junk.shift if junk.size > 200; end; rescue SystemCallError; end; c.close
  end
  exit!(0)
end
start = lambda { pid = fork { serve.call }; kids[pid] = true }
trap("HUP") { reload = true }; trap("TERM") { stop = true }
4.times { start.call }; File.write("ready", "")
until stop
  pid = begin; Process.wait(-1, Process::WNOHANG); rescue SystemCallError; nil; end
  if pid then kids.delete(pid); start.call unless stop end
  if reload then reload = false; GC.compact rescue nil; kids.each_key { |k| Process.kill("QUIT", k) }; File.open("reloads", "a") { |f| f << "x" } end
  sleep 0.01 unless pid
end
kids.each_key { |k| Process.kill("KILL", k) }; Process.waitall; puts "stopped"
""")}

program, text = SERVERS[sys.argv[1]]
with open("server", "w") as f:
    f.write(text)
server = subprocess.Popen(os.environ["UNDER"].split() + [program, "server"])
while not os.path.exists("ready"):
    assert server.poll() is None, "the server ended with %s" % server.returncode
    time.sleep(0.02)
wrong = []
served = [0] * 8


def client(which):
    for connection in range(25):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("sock")
            with s.makefile("rw", newline="\n") as f:
                for i in range(40):
                    n = (which * 7919 + connection * 331 + i * 17) % 10000
                    print(n, file=f, flush=True)
                    answer = f.readline().rstrip("\n")
                    if answer != "value %d %s" % (n, "x" * (n % 300)):
                        wrong.append((n, answer))
                    served[which] += 1


threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
for t in threads:
    t.start()
for reload in range(1, 6):
    # The next reload when the load has gone on, or is over: no clock decides.
    while sum(served) < reload * 1000 and any(t.is_alive() for t in threads):
        time.sleep(0.01)
    server.send_signal(signal.SIGHUP)
    while not os.path.exists("reloads") or os.path.getsize("reloads") < reload:
        assert server.poll() is None, "the server ended with %s" % server.returncode
        time.sleep(0.01)
for t in threads:
    t.join()
server.terminate()
print("status", server.wait(), "served", sum(served), "wrong", wrong[:3])
