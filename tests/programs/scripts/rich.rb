# Ruby: objects, strings, threads, fibers, fork with pipes, GC.compact, Ractor-free concurrency.
$stdout.sync = true
h = (1..50_000).to_h { |i| ["k#{i}", { square: i * i, text: "x" * (i % 200) }] }
puts h.values.sum { |v| v[:text].size }, h.max_by { |_, v| v[:square] }[0]
text = (1..50_000).map { |i| "w#{i}" }.join(" "); puts text.scan(/w\d*7\b/).size, text.gsub(/w(\d)/) { "v#{$1}" }.sum
puts (2**20000).to_s.size, (1..2000).inject(:*).to_s.size
16.times do |n|
  r, w = IO.pipe
  pid = fork { r.close; h.clear; text.replace("gone"); w.write("#{n} #{h.size} #{text}"); w.close; exit!(n) if n.odd?; exit(n) }
  w.close; got = r.read; Process.wait(pid); puts "#{got} #{$?.exitstatus} #{h.size} #{text.size}" if n % 10 < 2
end
kids = (1..15).map { |n| fork { a = Array.new(20_000) { |i| i.to_s * n }; exit(a.size / 1000 + n) } }; puts kids.map { |k| Process.wait2(k)[1].exitstatus }.join(" ")
q = Queue.new; ths = (1..10).map { |n| Thread.new { q << (1..3000).map { |i| "t#{n}" * (i % 30) }.sum(&:size) } }; ths.each(&:join); puts q.size, Array.new(10) { q.pop }.sum
p fork { Thread.new { exit!(9) }.join }.then { |k| Process.wait2(k)[1].exitstatus }
f = Fiber.new { |x| loop { x = Fiber.yield(x * 2) } }; puts (1..1000).sum { |i| f.resume(i) }
fibers = (1..500).map { |i| Fiber.new { Fiber.yield("f" * i); i } }; puts fibers.sum { |x| x.resume.size } + fibers.sum(&:resume)
GC.start; begin; GC.compact; rescue NotImplementedError; end; GC.start(full_mark: true, immediate_sweep: true); puts h.size
begin; GC.stress = true; 20.times { "a" * 100 + [1, 2].inspect }; ensure GC.stress = false; end
puts `echo back; exit 3`, $?.exitstatus; puts IO.popen(%w[sort -r], "r+") { |io| io.puts "a", "b"; io.close_write; io.read }
puts system("exit 2").inspect, spawn("true").then { |k| Process.wait2(k)[1].success? }
m = Marshal.load(Marshal.dump(h)); puts m == h; puts [1, [2, [3]]].flatten.inspect, [3, 1, 2].sort.inspect
begin; "x" * (1 << 62); rescue ArgumentError, NoMemoryError => e; puts e.class; end
begin; def deep(n) = deep(n + 1); deep(0); rescue SystemStackError => e; puts e.class; end
ObjectSpace.define_finalizer("x".dup, proc {}); Signal.trap("USR1") { $got = true }; Process.kill("USR1", $$); Thread.pass until $got; puts "usr1"
s = +""; 200_000.times { |i| s << (65 + i % 26).chr }; puts s.size, s.hash == s.dup.hash, s.unpack("C*").sum
at_exit { puts "end" }
